import { lstat, mkdir, readdir, readlink, rm, stat, statfs, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { run } from "./run.ts";

/** statfs(2)'s number for the file system that namespaces are files of (linux/magic.h). */
const NSFS_MAGIC = 0x6e736673;

/** Whether a network namespace is kept at this path. */
export async function netnsExists(path: string): Promise<boolean> {
  try {
    return (await statfs(path)).type === NSFS_MAGIC;
  } catch {
    return false;
  }
}

/** Makes a network namespace that stays until `removeNetns`, whether a process is in it or not. */
export async function createNetns(path: string): Promise<void> {
  if (await netnsExists(path)) return;
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, "");
  await run(["unshare", `--net=${path}`, "true"]);
}

export async function removeNetns(path: string): Promise<void> {
  while (await netnsExists(path)) await run(["umount", path]);
  await rm(path, { force: true });
}

/** Command line that runs the given one in a network namespace (and nothing else of its own). */
export function inNetns(path: string, argv: readonly string[]): string[] {
  return ["nsenter", `--net=${path}`, "--", ...argv];
}

/** Numbers of all processes in a network namespace. */
export async function netnsProcesses(path: string): Promise<number[]> {
  if (!(await netnsExists(path))) return [];
  const wanted = `net:[${(await stat(path)).ino}]`;
  const numbers = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const namespaces = await Promise.all(numbers.map(netnsOf));
  return numbers.filter((_, i) => namespaces[i] === wanted);
}

/** Whether a process is there and in this network namespace. */
export async function isInNetns(pid: number, path: string): Promise<boolean> {
  const [own, wanted] = await Promise.all([netnsOf(pid), stat(path).catch(() => undefined)]);
  return wanted !== undefined && own === `net:[${wanted.ino}]`;
}

/** `net:[inode]`; undefined when the process is gone, or a zombie, which is in no namespace. */
function netnsOf(pid: number): Promise<string | undefined> {
  return readlink(`/proc/${pid}/ns/net`).catch(() => undefined);
}

/** Whether a path is there at all, without following links. */
export async function pathExists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
