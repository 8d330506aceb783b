import { mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Host } from "./host.ts";
import { disableProgram, installProgram, type Parts, partsOfImage } from "./program.ts";

let work: string;
let host: Host;
const home = (...parts: string[]) => join(work, "host/opt/kcr-runtime", ...parts);

beforeEach(async () => {
  work = await mkdtemp(join(tmpdir(), "kcr-installer-"));
  host = { root: join(work, "host"), enterHost: "/nowhere" };
});
afterEach(() => rm(work, { recursive: true }));

/** An image's files, with these words in them. */
async function image(name: string, files: Record<string, string>): Promise<Parts> {
  const parts = new Map<string, string>();
  for (const [to, text] of Object.entries(files)) {
    const from = join(work, name, to.replace("/", "-"));
    await mkdir(join(work, name), { recursive: true });
    await writeFile(from, text);
    parts.set(from, to);
  }
  return parts;
}

describe("the handler's files", () => {
  it("are one version behind one link, and a new version shares what did not change", async () => {
    const first = await image("1", { "kcr-runtime": "one", "runtime.mjs": "one", "lib/node": "node" });
    expect(await installProgram(host, first, "runtime=/runc\n")).toMatchObject({ changed: true });
    expect(await readFile(home("kcr-runtime"), "utf8")).toBe("one");
    expect(await readFile(home("kcr-runtime.conf"), "utf8")).toBe("runtime=/runc\n");
    const node = await stat(home("lib/node"));
    expect(node.mode & 0o777).toBe(0o755);

    const second = await image("2", { "kcr-runtime": "two", "runtime.mjs": "one", "lib/node": "node" });
    await installProgram(host, second, "runtime=/runc\n");
    expect(await readFile(home("kcr-runtime"), "utf8")).toBe("two");
    expect((await stat(home("lib/node"))).ino).toBe(node.ino);
    expect(await readdir(home("versions"))).toHaveLength(2);
  });

  it("that are as they should be are left alone; a new configuration is no new version", async () => {
    const parts = await image("1", { "kcr-runtime": "one" });
    const { version } = await installProgram(host, parts, "a=1\n");
    const before = await stat(home("kcr-runtime"));
    expect(await installProgram(host, parts, "a=1\n")).toEqual({ version, changed: false });
    expect(await installProgram(host, parts, "a=2\n")).toEqual({ version, changed: true });
    expect((await stat(home("kcr-runtime"))).ino).toBe(before.ino);
    expect(await readFile(home("kcr-runtime.conf"), "utf8")).toBe("a=2\n");
  });

  it("that were damaged, or left half-made, are made anew", async () => {
    const parts = await image("1", { "kcr-runtime": "one" });
    const { version } = await installProgram(host, parts, "");
    await writeFile(home("versions", version, "kcr-runtime"), "damaged");
    await mkdir(home("versions", `${version}.kcr-tmp`, "lib"), { recursive: true });
    await rm(home("current"));
    expect(await installProgram(host, parts, "")).toEqual({ version, changed: true });
    expect(await readFile(home("kcr-runtime"), "utf8")).toBe("one");
    expect(await readdir(home("versions"))).toEqual([version]);
  });

  it("keep the version before the last, and no other", async () => {
    for (const word of ["one", "two", "three"]) {
      await installProgram(host, await image(word, { "kcr-runtime": word }), "");
    }
    const kept = await readdir(home("versions"));
    expect(kept).toHaveLength(2);
    await installProgram(host, await image("three", { "kcr-runtime": "three" }), "");
    expect(await readdir(home("versions"))).toEqual(kept);
    expect(await readlink(home("kcr-runtime"))).toBe("current/kcr-runtime");
  });

  it("are told to restore nothing, once, and nothing is told where there is none", async () => {
    await disableProgram(host);
    await installProgram(host, await image("1", { "kcr-runtime": "one" }), "a=1\n");
    await disableProgram(host);
    await disableProgram(host);
    expect(await readFile(home("kcr-runtime.conf"), "utf8")).toBe("a=1\ndisabled=1\n");
  });

  it("are Node with every library that it has loaded, the loader too", () => {
    const names = [...partsOfImage("/opt/kcr/runtime").values()];
    expect(names).toEqual(
      expect.arrayContaining(["kcr-runtime", "runtime.mjs", "lib/node", "lib/libc.so.6"]),
    );
    expect(names.some((name) => /^lib\/ld-linux-.*\.so\.\d$/.test(name))).toBe(true);
  });
});
