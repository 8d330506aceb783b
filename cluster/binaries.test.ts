import { expect, test } from "vitest";
import { allBinaries, compareGo, whyNotGo } from "./binaries.ts";

test.each<[string, string, string, string | undefined]>([
  ["go1.26.8", "local", "1.26.8", undefined],
  ["go1.27.0", "local", "1.26.8", undefined],
  ["go1.21.0", "auto", "1.26.8", undefined],
  ["go1.22.5", "go1.22.5+auto", "1.26.8", undefined],
  [
    "go1.26.7",
    "local",
    "1.26.8",
    "Go 1.26.8 is needed, not go1.26.7, which may not fetch it (GOTOOLCHAIN=local)",
  ],
  [
    "go1.25.1",
    "path",
    "1.26.8",
    "Go 1.26.8 is needed, not go1.25.1, which may not fetch it (GOTOOLCHAIN=path)",
  ],
  ["go1.19.8", "", "1.26.8", "Go 1.26.8 is needed (or 1.21, which fetches it), not go1.19.8"],
])("Go %s with GOTOOLCHAIN=%s where %s is needed", (version, toolchain, needed, reason) => {
  expect(whyNotGo(version, toolchain, needed)).toBe(reason);
});

test("Go versions are ordered by number, not by letter", () => {
  expect(compareGo("go1.9", "1.21")).toBeLessThan(0);
  expect(compareGo("go1.26", "1.26.0")).toBe(0);
  expect(compareGo("go1.26.10", "go1.26.9")).toBeGreaterThan(0);
});

test("every command has a name of its own", () => {
  expect(new Set(allBinaries).size).toBe(allBinaries.length);
  expect(allBinaries).toContain("kubernetes/kubelet");
  expect(allBinaries).toContain("containerd-2.4/containerd-shim-runc-v2");
  expect(allBinaries).toContain("cni/host-local");
});
