import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Host } from "./host.ts";
import { isRestartOwed, oweRestart, planRestart, restartDone } from "./restart.ts";

let work: string;
let host: Host;
beforeEach(async () => {
  work = await mkdtemp(join(tmpdir(), "kcr-restart-"));
  host = { root: work, enterHost: "/nowhere" };
});
afterEach(() => rm(work, { recursive: true }));

/** A /proc of a host with this PID 1, where process 7 is in this control group. */
async function proc(init: string, cgroup: string): Promise<string> {
  for (const [pid, file, text] of [
    ["1", "comm", `${init}\n`],
    ["7", "cgroup", cgroup],
  ] as const) {
    await mkdir(join(work, "proc", pid), { recursive: true });
    await writeFile(join(work, "proc", pid, file), text);
  }
  return join(work, "proc");
}

describe("the container runtime is restarted", () => {
  it("by systemd, where it is a service of it", async () => {
    const at = await proc("systemd", "0::/system.slice/containerd.service\n");
    expect(await planRestart(7, "auto", at)).toEqual({ type: "systemd", unit: "containerd.service" });
  });

  it.each([
    ["init", "0::/system.slice/containerd.service\n"],
    ["systemd", "0::/user.slice/session-1.scope\n"],
  ])("by nobody where PID 1 is %s and its group %s, unless a signal is asked for", async (init, cgroup) => {
    const at = await proc(init, cgroup);
    for (const wanted of ["auto", "systemd"] as const) {
      await expect(planRestart(7, wanted, at)).rejects.toMatchObject({ code: "RuntimeRestartUnclear" });
    }
    expect(await planRestart(7, "signal", at)).toEqual({ type: "signal" });
  });

  it("as long as the very process runs that has not read what was changed", async () => {
    expect(await isRestartOwed(host, 7)).toBe(false);
    await oweRestart(host, 7);
    expect(await isRestartOwed(host, 7)).toBe(true);
    expect(await isRestartOwed(host, 8), "one that was started since").toBe(false);
    await restartDone(host);
    expect(await isRestartOwed(host, 7)).toBe(false);
  });
});
