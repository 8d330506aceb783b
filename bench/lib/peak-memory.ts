import { readFile } from "node:fs/promises";

/** The most memory that a process has ever held, in bytes: VmHWM of proc(5). Errors: a process that is gone. */
export async function peakMemory(pid: number | "self"): Promise<number> {
  const path = `/proc/${pid}/status`;
  return parsePeak(path, await readFile(path, "utf8"));
}

/** The same of such a file's content. */
export function parsePeak(path: string, status: string): number {
  const kibibytes = /^VmHWM:\s+([0-9]+) kB$/m.exec(status)?.[1];
  if (kibibytes === undefined) throw new Error(`${path} has no VmHWM`);
  return Number(kibibytes) * 1024;
}
