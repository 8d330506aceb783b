import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ownContainerd, parseStat } from "./shim.ts";

const stat = (pid: number, name: string, parent: number): string =>
  `${pid} (${name}) S ${parent} 244 244 0 -1 4194560 994 1437 0 0 0 1 2 0 20 0 1 0 1614678 2392064 386\n`;

describe("parseStat", () => {
  it.each([
    ["sh", { parent: 192, began: 1614678 }],
    ["a) S 1 (b", { parent: 192, began: 1614678 }],
  ])("finds parent and begin behind the name %j", (name, found) => {
    expect(parseStat(stat(244, name, 192))).toEqual(found);
  });

  it("makes nothing of other text", () => {
    expect(parseStat("")).toBeUndefined();
  });
});

describe("ownContainerd", () => {
  let proc: string;
  beforeEach(() => {
    proc = mkdtempSync(join(tmpdir(), "kcr-proc-"));
  });
  afterEach(() => rmSync(proc, { recursive: true }));
  const add = (pid: number, parent: number, environment: Record<string, string>) => {
    mkdirSync(join(proc, `${pid}`));
    writeFileSync(join(proc, `${pid}`, "stat"), stat(pid, "node", parent));
    const pairs = Object.entries(environment).map(([key, value]) => `${key}=${value}\0`);
    writeFileSync(join(proc, `${pid}`, "environ"), pairs.join(""));
  };

  it("is told by the nearest shim above", async () => {
    add(1, 0, { NAMESPACE: "k8s.io", GRPC_ADDRESS: "/wrong.sock" });
    add(50, 1, {
      NAMESPACE: "k8s.io",
      GRPC_ADDRESS: "/run/k3s/containerd/containerd.sock",
      PATH: "/x=y:/bin",
    });
    add(60, 50, { GRPC_ADDRESS: "of something else" });
    add(70, 60, {});
    expect(await ownContainerd(proc, 70)).toEqual({
      address: "/run/k3s/containerd/containerd.sock",
      state: "/run/k3s/containerd",
      path: "/x=y:/bin",
    });
  });

  it("is not known where the host's processes are not seen", async () => {
    add(7, 1, {});
    expect(await ownContainerd(proc, 7)).toBeUndefined();
  });
});
