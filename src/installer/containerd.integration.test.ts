import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type BinaryPart, ensureBinaries, whyNotBinaries } from "../../cluster/binaries.ts";
import { readIfThere } from "../store/files.ts";
import { addHandlers, type Containerd, removeHandlers } from "./containerd.ts";
import { differences, parseDump } from "./dump.ts";
import { hasHandlers } from "./handlers.ts";
import { type Host, runOnHost } from "./host.ts";

const whyNot = (await whyNotBinaries()) ?? (process.getuid?.() === 0 ? undefined : "only root may chroot");
const unchanged = async () => {};

/** Main configurations as they are found in the field, by what is particular to each. */
const found: Record<string, string | undefined> = {
  "no file at all": undefined,
  "no imports": "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = ['/opt/cni']\n",
  "imports that cover the drop-in": "version = 3\nimports = ['conf.d/*.toml']\n",
  "imports of another directory": "version = 3\nimports = ['/etc/containerd/more/*.toml']\noom_score = -1\n",
  "a configuration of containerd 1.x": [
    "version = 2",
    `[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]`,
    `runtime_type = "io.containerd.runc.v2"`,
    `[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]`,
    `SystemdCgroup = true`,
    `BinaryName = "/usr/bin/runc"`,
    "",
  ].join("\n"),
};

describe.each(["2.3", "2.4"] as const)(`containerd %s${whyNot ? ` (skipped: ${whyNot})` : ""}`, (version) => {
  if (whyNot !== undefined) {
    it.skip("cannot be run", () => {});
    return;
  }
  const config = "/etc/containerd/config.toml";
  let host: Host;
  const main = () => readIfThere(join(host.root, config));
  const dropIn = () => readIfThere(join(host.root, "/etc/containerd/conf.d/kcr.toml"));

  beforeAll(async () => {
    const part: BinaryPart = `containerd-${version}/containerd`;
    const root = await mkdtemp(join(tmpdir(), "kcr-host-"));
    host = { root, enterHost: join(root, "enter-host") };
    await copyFile((await ensureBinaries([part]))[part]!, join(root, "containerd"));
    // The real one enters a process's mount namespace; here the host is a directory.
    await writeFile(host.enterHost, `#!/bin/sh\nshift\nexec /usr/sbin/chroot ${root} "$@"\n`);
    await chmod(host.enterHost, 0o755);
  });
  afterAll(() => rm(host.root, { recursive: true, force: true }));

  async function containerd(text: string | undefined): Promise<Containerd> {
    await rm(join(host.root, "etc"), { recursive: true, force: true });
    await mkdir(join(host.root, "etc/containerd/more"), { recursive: true });
    if (text !== undefined) await writeFile(join(host.root, config), text);
    return look();
  }

  /** As `findContainerd` does for one that runs. */
  async function look(): Promise<Containerd> {
    const process = { pid: 1, program: "/containerd", args: ["containerd"], env: { PATH: "/usr/bin:/bin" } };
    const argv = [process.program, "--config", config, "config", "dump"];
    return { process, config, dump: parseDump(await runOnHost(host, 1, argv, { env: process.env })) };
  }

  it.each(Object.entries(found))(
    "with %s: gets the handlers, nothing else changes, and back",
    async (_, text) => {
      const before = await containerd(text);
      let told = 0;
      const count = async () => {
        told++;
      };
      await addHandlers(host, before, count);
      const after = await look();
      expect(hasHandlers(after.dump)).toBe(true);
      const changed = differences(before.dump, after.dump, () => false);
      expect(changed.filter((line) => !/'runtimes'\.'kcr(-selftest)?'/.test(line))).toEqual([]);
      expect(told).toBe(1);

      const { mtimeMs } = await stat(join(host.root, "/etc/containerd/conf.d/kcr.toml"));
      await addHandlers(host, after, count);
      expect(told, "nothing to be done the second time").toBe(1);
      expect((await stat(join(host.root, "/etc/containerd/conf.d/kcr.toml"))).mtimeMs).toBe(mtimeMs);

      await removeHandlers(host, after, count);
      expect([await main(), await dropIn()]).toEqual([text, undefined]);
      expect((await look()).dump).toEqual(before.dump);
    },
  );

  it("keeps the imports line that another file is read by since", async () => {
    await addHandlers(host, await containerd("version = 3\n"), unchanged);
    await writeFile(join(host.root, "/etc/containerd/conf.d/other.toml"), "version = 3\noom_score = -7\n");
    await removeHandlers(host, await look(), unchanged);
    expect((await look()).dump.tables.get("")?.get("oom_score")).toBe("-7");
    expect(await dropIn()).toBeUndefined();
  });

  it("keeps what it was changed from, the first time", async () => {
    await addHandlers(host, await containerd("version = 3\n"), unchanged);
    expect(await readFile(join(host.root, `${config}.before-kcr`), "utf8")).toBe("version = 3\n");
  });

  it("is left as it is where the imports are not understood", async () => {
    const text = "version = 3\nimports = [\n  '/etc/containerd/more/*.toml',\n]\n";
    await expect(addHandlers(host, await containerd(text), unchanged)).rejects.toMatchObject({
      code: "RuntimeConfigUnclear",
      message: expect.stringContaining("by hand"),
    });
    expect([await main(), await dropIn()]).toEqual([text, undefined]);
  });

  it("is left as it is where the directory would bring in what is not ours", async () => {
    const before = await containerd("version = 3\n");
    await mkdir(join(host.root, "/etc/containerd/conf.d"), { recursive: true });
    await writeFile(join(host.root, "/etc/containerd/conf.d/old.toml"), "version = 3\noom_score = -7\n");
    await expect(addHandlers(host, before, unchanged)).rejects.toMatchObject({
      code: "RuntimeConfigUnclear",
      message: expect.stringContaining("oom_score"),
    });
    expect([await main(), await dropIn()]).toEqual(["version = 3\n", undefined]);
  });
});
