import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { cgroupOf, findContainer, upperOf } from "./container.ts";

/** At /run/c/rootfs; and another at /, which the container may have mounted itself. */
const overlay = (options: string) =>
  `1024 745 0:190 / /run/c/rootfs rw,relatime master:3 - overlay overlay rw,lowerdir=/l/3/fs,${options}\n` +
  "1023 745 0:191 / / rw,relatime - overlay overlay rw,lowerdir=/l/1/fs,upperdir=/etc,workdir=/s/2/work\n" +
  "1029 1024 0:319 / /proc rw,nosuid - proc proc rw\n";

describe("upperOf", () => {
  it.each([
    ["an overlay", overlay("upperdir=/s/4/fs,workdir=/s/4/work"), "/s/4/fs"],
    ["a path with a blank in it", overlay("upperdir=/s\\0404/fs,workdir=/w"), "/s 4/fs"],
    ["a path with a line feed in it", overlay("upperdir=/s\\0124/fs,workdir=/w"), undefined],
    ["an overlay that is only read", overlay("uuid=on"), undefined],
    ["another file system", "1 0 8:1 / /run/c/rootfs rw - ext4 /dev/vda rw\n", undefined],
    ["no mounts", "", undefined],
  ])("of %s", (_, mountinfo, upper) => {
    expect(upperOf(mountinfo, "/run/c/rootfs")).toBe(upper);
  });
});

describe("cgroupOf", () => {
  it.each([
    ["version 1", { freezer: "/f/x", cpu: "/c/x" }, { path: "/f/x", version: 1 }],
    ["version 2", { "": "/x" }, { path: "/x", version: 2 }],
    ["both at once", { freezer: "/f/x", "": "/unified/x" }, { path: "/f/x", version: 1 }],
  ])("of %s", (_, paths, cgroup) => {
    expect(cgroupOf(paths)).toEqual(cgroup);
  });

  it("of none is an error", () => {
    expect(() => cgroupOf({ cpu: "/c/x" })).toThrow(expect.objectContaining({ reason: "Unsupported" }));
  });
});

describe("findContainer", () => {
  let host: string;
  beforeEach(() => {
    host = mkdtempSync(join(tmpdir(), "kcr-host-"));
  });
  afterEach(() => rmSync(host, { recursive: true }));
  const put = (path: string, value: unknown) => {
    mkdirSync(dirname(join(host, path)), { recursive: true });
    writeFileSync(join(host, path), typeof value === "string" ? value : JSON.stringify(value));
  };
  const containerd = { address: "/run/c/c.sock", state: "/run/c", path: "/bin" };
  const options = "/run/c/io.containerd.runtime.v2.task/k8s.io/abc/options.json";
  const state = {
    id: "abc",
    init_process_pid: 999_999_999,
    init_process_start: 7,
    cgroup_paths: { "": "/x" },
  };

  it("finds one by the root of its own runtime, and its files by the host's mounts alone", async () => {
    put(options, { root: "/r", binary_name: "/opt/runc", systemd_cgroup: true });
    put("/r/k8s.io/abc/state.json", state);
    const rootfs = "/run/c/io.containerd.runtime.v2.task/k8s.io/abc/rootfs";
    put(
      "/proc/1/mountinfo",
      `1 0 0:190 / ${rootfs} rw - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w\n`,
    );
    expect(await findContainer(containerd, "abc", host)).toEqual({
      id: "abc",
      bundle: "/run/c/io.containerd.runtime.v2.task/k8s.io/abc",
      runtime: "/opt/runc",
      runtimeRoot: "/r/k8s.io",
      systemdCgroup: true,
      init: 999_999_999,
      began: 7,
      cgroup: { path: "/x", version: 2 },
      upper: "/u",
    });
  });

  it.each([
    [
      "whose root file system is no overlay",
      { "/run/containerd/runc/k8s.io/abc/state.json": state },
      "Unsupported",
    ],
    ["that the runtime does not know", {}, "Gone"],
    [
      "of a runtime that is not runc",
      { "/run/containerd/runc/k8s.io/abc/state.json": { id: "abc" } },
      "Unsupported",
    ],
    ["with a state that is no JSON", { "/run/containerd/runc/k8s.io/abc/state.json": "{" }, "Unsupported"],
  ])("does not find one %s", async (_, files, reason) => {
    for (const [path, value] of Object.entries(files)) put(path, value);
    await expect(findContainer(containerd, "abc", host)).rejects.toMatchObject({ reason });
  });
});
