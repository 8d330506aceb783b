import { expect, it } from "vitest";
import { crioDropIn, crioRuntime } from "./crio.ts";
import { parseDump } from "./dump.ts";

// CRI-O is not run here: these are its formats as crio.conf(5) has them.
const dump = parseDump(`[crio]
  [crio.runtime]
    default_runtime = "runc"
    [crio.runtime.runtimes]
      [crio.runtime.runtimes.runc]
        runtime_path = "/usr/libexec/crio/runc"
        runtime_type = ""
        runtime_root = "/run/runc"
        monitor_path = "/usr/libexec/crio/conmon"
        allowed_annotations = ["io.containers.trace-syscall"]
`);

it("the drop-in for CRI-O has both handlers, with the default's root and monitor", () => {
  expect(crioDropIn(dump)).toBe(`# Written by kcr-installer, which overwrites it.
[crio.runtime.runtimes.kcr]
  runtime_path = "/opt/kcr-runtime/kcr-runtime"
  runtime_root = "/run/runc"
  monitor_path = "/usr/libexec/crio/conmon"
  allowed_annotations = ["kcr.io/"]
[crio.runtime.runtimes.kcr-selftest]
  runtime_path = "/opt/kcr-runtime/kcr-runtime"
  runtime_root = "/run/runc"
  monitor_path = "/usr/libexec/crio/conmon"
  allowed_annotations = ["kcr.io/"]
`);
});

it("the runtime behind it is the default's program, or looked for by name where CRI-O does", () => {
  expect(crioRuntime(dump, "/usr/bin").path).toEqual(["/usr/libexec/crio/runc"]);
  expect(crioRuntime(parseDump(""), "/usr/sbin:/usr/bin")).toEqual({
    wanted: "crun",
    path: ["/usr/libexec/crio/crun", "/usr/sbin/crun", "/usr/bin/crun"],
  });
});
