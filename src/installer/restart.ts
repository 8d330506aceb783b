import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import { KcrError } from "../api/errors.ts";
import type { Settings } from "../api/settings.ts";
import { readIfThere } from "../store/files.ts";
import { type Host, onHost, runOnHost, writeForAll } from "./host.ts";
import { systemdUnit } from "./process.ts";

/**
 * Holds the ID of the process that has not read what was changed: written before the first change, so that whoever
 * comes next knows. A runtime that was restarted since, by whomever, has another ID.
 */
const OWED = "/run/kcr-installer/restart";

export const oweRestart = async (host: Host, pid: number): Promise<void> => {
  await writeForAll(onHost(host, OWED), `${pid}`);
};
export const isRestartOwed = async (host: Host, pid: number): Promise<boolean> =>
  (await readIfThere(onHost(host, OWED))) === `${pid}`;
export const restartDone = (host: Host): Promise<void> =>
  rm(onHost(host, dirname(OWED)), { recursive: true, force: true });

export type Restart = { type: "systemd"; unit: string } | { type: "signal" };

/** How the runtime would be restarted. Errors: KcrError RuntimeRestartUnclear. */
export async function planRestart(
  pid: number,
  wanted: Settings["installer"]["restart"],
  proc = "/proc",
): Promise<Restart> {
  if (wanted === "signal") return { type: "signal" };
  const unit = await systemdUnit(pid, proc);
  if (unit !== undefined) return { type: "systemd", unit };
  throw new KcrError(
    "RuntimeRestartUnclear",
    `the container runtime (process ${pid}) is not a service of systemd's`,
  );
}

/** Ends the runtime and has it started again; does not wait for it. Containers run on. */
export async function restart(host: Host, pid: number, how: Restart, signal: AbortSignal): Promise<void> {
  switch (how.type) {
    case "systemd":
      await runOnHost(host, 1, ["systemctl", "restart", how.unit], { env: { PATH }, signal });
      return;
    case "signal":
      process.kill(pid, "SIGTERM");
  }
}

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
