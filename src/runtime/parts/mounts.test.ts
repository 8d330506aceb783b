import { describe, expect, it } from "vitest";
import { divergingPath, emptyDirOf, missingMounts, mountOf } from "./mounts.ts";
import type { SpecMount } from "./spec.ts";

const POD = "/var/lib/kubelet/pods/29061b7a-d865-4afd-af9c-92dec804ef01";
const SANDBOX = "/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/f92a2b2f";

const bind = (destination: string, source: string, ...options: string[]): SpecMount => ({
  destination,
  source,
  type: "bind",
  options: ["rbind", "rprivate", ...options],
});

const mounts: SpecMount[] = [
  { destination: "/proc", type: "proc", source: "proc", options: [] },
  { destination: "/dev", type: "tmpfs", source: "tmpfs", options: [] },
  { destination: "/tmp/memory", type: "tmpfs", source: "tmpfs", options: [] },
  bind("/etc/hosts", `${POD}/etc-hosts`, "rw"),
  bind("/dev/termination-log", `${POD}/containers/app/60e53dac`, "rw"),
  bind("/var/log/end", `${POD}/containers/app/60e53dac`, "rw"),
  bind("/etc/hostname", `${SANDBOX}/hostname`, "rw"),
  bind("/etc/resolv.conf", `${SANDBOX}/resolv.conf`, "rw"),
  bind("/dev/shm", "/run/containerd/io.containerd.grpc.v1.cri/sandboxes/f92a2b2f/shm", "rw"),
  bind("/cache", `${POD}/volumes/kubernetes.io~empty-dir/cache`, "rw"),
  bind("/scratch/", `${POD}/volumes/kubernetes.io~empty-dir/scratch`),
  bind("/data", `${POD}/volumes/kubernetes.io~csi/pvc-1/mount`, "rw"),
  bind("/data/cache", `${POD}/volumes/kubernetes.io~empty-dir/inner`, "rw"),
  bind("/data/read-only", "/srv", "ro"),
  bind("/host", "/srv", "rw"),
  bind("/sub", `${POD}/volume-subpaths/data/app/0`, "rw"),
  bind("/config", `${POD}/volumes/kubernetes.io~configmap/config`, "rw"),
  bind("/token", `${POD}/volumes/kubernetes.io~projected/kube-api-access-x`, "rw"),
];
const note = {
  captured: [
    { name: "cache", destination: "/cache" },
    { name: "inner", destination: "/data/cache" },
    { name: "was-one", destination: "/host" },
  ],
};

const diverging = (path: string, policy: "Refuse" | "Ignore" | "Capture") =>
  divergingPath({ openForWriting: ["/root/first", path] }, note, { mounts }, policy);

describe("a file that was open for writing", () => {
  it.each([
    "/srv/of-the-image",
    "/database/no-mount",
    "/dev/null",
    "/tmp/memory/x",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/dev/termination-log",
    "/var/log/end",
    "/data/read-only/x",
    "/config/x",
    "/token/x",
  ])("at %s lies on no volume", (path) => {
    for (const policy of ["Refuse", "Capture", "Ignore"] as const) {
      expect(diverging(path, policy)).toBeUndefined();
    }
  });

  it.each(["/cache/x", "/cache", "/data/cache/deep/x"])(
    "at %s comes back if volumes are captured",
    (path) => {
      expect(diverging(path, "Capture")).toBeUndefined();
      expect(diverging(path, "Ignore")).toBeUndefined();
      expect(diverging(path, "Refuse")).toBe(path);
      const nothing = divergingPath({ openForWriting: [path] }, undefined, { mounts }, "Capture");
      expect(nothing).toBe(path);
    },
  );

  it.each(["/data/x", "/data/cached", "/scratch/x", "/sub/x", "/dev/shm/segment", "/host/x", "/data/./x"])(
    "at %s would not be what it was",
    (path) => {
      expect(diverging(path, "Capture")).toBe(path);
      expect(diverging(path, "Refuse")).toBe(path);
      expect(diverging(path, "Ignore")).toBeUndefined();
    },
  );
});

it("of mounts over each other the innermost and latest holds a path", () => {
  const over = [...mounts, bind("/data", "/later")];
  expect(mountOf("/data/x", over)?.source).toBe("/later");
  expect(mountOf("/data/cache/x", over)?.source).toContain("inner");
  expect(mountOf("/x", over)).toBeUndefined();
  expect(mountOf("/x", [bind("/", "/all")])?.source).toBe("/all");
});

it.each([
  [`${POD}/volumes/kubernetes.io~empty-dir/cache`, "cache"],
  [`${POD}/volumes/kubernetes.io~empty-dir/../empty-dir/cache`, undefined],
  [`/a/..${POD}/volumes/kubernetes.io~empty-dir/cache`, undefined],
  [`${POD}/volumes/kubernetes.io~empty-dir/..`, undefined],
  [`${POD}/volumes/kubernetes.io~empty-dir/cache/sub`, undefined],
  [`${POD}/volumes/kubernetes.io~nfs/cache`, undefined],
])("knows an emptyDir by its path %s", (source, name) => {
  expect(emptyDirOf({ source })?.name).toBe(name);
});

it("names the mount points that are not there any more", () => {
  const index = { mounts: ["/cache", "/scratch", "/gone", "/data/cache/", "/also/gone"] };
  expect(missingMounts(index, { mounts })).toEqual(["/gone", "/also/gone"]);
});
