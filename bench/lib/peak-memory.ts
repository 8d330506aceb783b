import { readFile } from "node:fs/promises";

/** The most memory that a process has ever held, in bytes: VmHWM of proc(5). Errors: a process that is gone. */
export async function peakMemory(pid: number | "self"): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  const kibibytes = /^VmHWM:\s+([0-9]+) kB$/m.exec(status)?.[1];
  if (kibibytes === undefined) throw new Error(`/proc/${pid}/status has no VmHWM`);
  return Number(kibibytes) * 1024;
}
