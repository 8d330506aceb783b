import { mkdir, mkdtemp, readdir, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Archives, isNamed } from "./archives.ts";

const of = { namespace: "shop", pod: "cache-0", container: "app" };
const name = "checkpoint-cache-0_shop-app-2026-01-01T12:00:00Z.tar";

let root: string;
let archives: Archives;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "kcr-archives-"));
  await mkdir(join(root, "checkpoints"));
  archives = new Archives(join(root, "checkpoints"));
});
afterEach(() => rm(root, { recursive: true }));

describe("Archives", () => {
  it.each([
    "../checkpoint-x.tar",
    "checkpoint-/../x.tar",
    "checkpoint-a..b.tar",
    "/etc/passwd",
    "",
    "x.tar",
    "a\0b",
  ])("refuses %j as an archive's name", async (hostile) => {
    expect(() => archives.path(hostile)).toThrow(TypeError);
    await expect(archives.find(hostile)).rejects.toThrow(TypeError);
    await expect(archives.remove(hostile)).rejects.toThrow(TypeError);
  });

  it("finds regular files only", async () => {
    expect(await archives.find(name)).toBeUndefined();
    await writeFile(join(root, "secret"), "");
    await symlink(join(root, "secret"), archives.path(name));
    expect(await archives.find(name)).toBeUndefined();
  });

  it("removes an archive, once or twice", async () => {
    await writeFile(archives.path(name), "");
    await archives.remove(name);
    await archives.remove(name);
    expect(await readdir(archives.directory)).toEqual([]);
  });

  it("gives what may be a container's archives, newest first, and nothing else", async () => {
    const older = name.replace("12:00", "11:00");
    for (const [file, seconds] of [
      [older, 100],
      [name, 200],
      ["checkpoint-cache-0_shop-web-2026-01-01T12:00:00Z.tar", 300],
      ["checkpoint-cache-0_shop-app-1-2026-01-01T12:00:00Z.tar", 400],
      ["notes.txt", 300],
    ] as const) {
      await writeFile(join(archives.directory, file), "");
      await utimes(join(archives.directory, file), seconds, seconds);
    }
    expect((await archives.candidates(of)).map((file) => file.name)).toEqual([name, older]);
  });

  it("has none where the kubelet never made the directory", async () => {
    expect(await new Archives(join(root, "none")).candidates(of)).toEqual([]);
  });
});

describe("the name of an archive", () => {
  it("is never taken for that of a namespace or container whose name only begins alike", () => {
    const name = "checkpoint-web_team-prod-redis-2026-01-01T00:00:00Z.tar";
    expect(isNamed(name, { pod: "web", namespace: "team-prod", container: "redis" })).toBe(true);
    expect(isNamed(name, { pod: "web", namespace: "team", container: "prod" })).toBe(false);
    expect(isNamed(name, { pod: "web", namespace: "team", container: "redis" })).toBe(false);
    expect(isNamed(name, { pod: "we", namespace: "team-prod", container: "redis" })).toBe(false);
  });
});
