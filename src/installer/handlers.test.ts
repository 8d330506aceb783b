import { describe, expect, it } from "vitest";
import { parseDump } from "./dump.ts";
import { containerdDropIn, originalHandler } from "./handlers.ts";

const CRI = "plugins.'io.containerd.cri.v1.runtime'.containerd";

/** A configuration with these runtimes: their type and program. */
function dumpOf(defaultName: string, runtimes: Record<string, [type: string, binary: string]>, version = 3) {
  const tables = Object.entries(runtimes).map(
    ([name, [type, binary]]) =>
      `[${CRI}.runtimes.${name}]\nruntime_type = '${type}'\npod_annotations = ['mine/*']\nsnapshotter = ''\n[${CRI}.runtimes.${name}.options]\nBinaryName = '${binary}'\nSystemdCgroup = true\nIoUid = 0\nShimCgroup = '/kube'\n`,
  );
  return parseDump(
    `version = ${version}\n[${CRI}]\ndefault_runtime_name = '${defaultName}'\n${tables.join("")}`,
  );
}
const shim = "io.containerd.runc.v2";

describe("the handler that kcr's are copies of", () => {
  it.each([
    ["the default one", "runc", { runc: [shim, ""] }, { name: "runc", binary: "" }],
    [
      "the default one of another name",
      "nvidia",
      { nvidia: [shim, "/usr/bin/nvidia-container-runtime"], runc: [shim, ""] },
      { name: "nvidia", binary: "/usr/bin/nvidia-container-runtime" },
    ],
    [
      "runc where the default is a virtual machine",
      "kata",
      { kata: ["io.containerd.kata.v2", ""], runc: [shim, "runc"] },
      { name: "runc", binary: "runc" },
    ],
  ] as const)("is %s", (_what, name, runtimes, wanted) => {
    expect(originalHandler(dumpOf(name, runtimes as never))).toEqual(wanted);
  });

  it("is none in containerd 1.x, and where nothing runs runc", () => {
    expect(() => originalHandler(dumpOf("runc", { runc: [shim, ""] }, 2))).toThrow("containerd 2.0 or newer");
    expect(() => originalHandler(dumpOf("kata", { kata: ["io.containerd.kata.v2", ""] }))).toThrow(
      "kata nor one named runc",
    );
  });
});

it("kcr's handlers have what the original has, but the program and one annotation more", () => {
  const dump = dumpOf("runc", { runc: [shim, "/usr/bin/runc"] });
  expect(containerdDropIn(dump, originalHandler(dump))).toBe(`# Written by kcr-installer, which overwrites it.
version = 3
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.kcr]
  runtime_type = 'io.containerd.runc.v2'
  pod_annotations = ["mine/*", "kcr.io/*"]
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.kcr.options]
  BinaryName = '/opt/kcr-runtime/kcr-runtime'
  SystemdCgroup = true
  ShimCgroup = '/kube'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.kcr-selftest]
  runtime_type = 'io.containerd.runc.v2'
  pod_annotations = ["mine/*", "kcr.io/*"]
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.kcr-selftest.options]
  BinaryName = '/opt/kcr-runtime/kcr-runtime'
  SystemdCgroup = true
  ShimCgroup = '/kube'
`);
});
