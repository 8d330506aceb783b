import { type Core, hasMemory, readCore, type TaskState } from "./criu/core.ts";
import { needImage } from "./criu/image.ts";
import { type PstreeEntry, readPstree } from "./criu/pstree.ts";
import { ArchiveError } from "./errors.ts";
import type { AddressSpace } from "./memory.ts";
import type { Tar } from "./tar.ts";

/** A dumped process. */
export interface Process extends PstreeEntry {
  /** The name that the kernel knows it by, of 15 bytes at most. A stranger's string, as all here. */
  name: string;
  state: TaskState;
  /** As wait(2) has it, of one that has ended. */
  exitCode: number;
  /** The user that it acted as; undefined for one that has ended. */
  credentials: Core["credentials"];
  /** By their numbers. */
  children: readonly Process[];
}

/** The processes of a checkpoint. */
export class ProcessTree {
  /** The first process; more where the image names parents that it does not hold. By their numbers. */
  readonly roots: readonly Process[];
  readonly #byPid: ReadonlyMap<number, Process>;

  /** Errors: `malformed` when processes are each other's ancestors. */
  constructor(name: string, processes: readonly Omit<Process, "children">[]) {
    const byPid = new Map<number, Process & { children: Process[] }>();
    for (const process of [...processes].sort((a, b) => a.pid - b.pid)) {
      byPid.set(process.pid, { ...process, children: [] });
    }
    const roots: Process[] = [];
    for (const process of byPid.values()) (byPid.get(process.ppid)?.children ?? roots).push(process);
    this.roots = roots;
    this.#byPid = byPid;
    let reached = 0;
    for (const _ of this.walk()) reached += 1;
    if (reached < byPid.size) {
      throw new ArchiveError("malformed", `${name}: processes that are each other's ancestors`);
    }
  }

  get size(): number {
    return this.#byPid.size;
  }

  find(pid: number): Process | undefined {
    return this.#byPid.get(pid);
  }

  /** Each process before its children, with how deep it stands. */
  *walk(from: readonly Process[] = this.roots): Generator<{ process: Process; depth: number }> {
    // A stack of our own: a tree may be as deep as it is large.
    const left = from.map((process) => ({ process, depth: 0 })).reverse();
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      yield next;
      const depth = next.depth + 1;
      for (let i = next.process.children.length - 1; i >= 0; i--) {
        left.push({ process: next.process.children[i]!, depth });
      }
    }
  }
}

/** Errors: `ArchiveError`: `missing` when the archive has no process tree, or not what one of its processes is. */
export async function readProcesses(tar: Tar): Promise<ProcessTree> {
  const processes: Omit<Process, "children">[] = [];
  for (const entry of await readPstree(needImage(tar, "pstree.img"))) {
    const image = needImage(tar, `core-${entry.pid}.img`);
    const { state, name, exitCode, credentials } = await readCore(image);
    if (state === undefined) throw new ArchiveError("malformed", `${image.name}: is of no process`);
    processes.push({ ...entry, name, state, exitCode, credentials });
  }
  return new ProcessTree(tar.bytes.name, processes);
}

/** Whether it had memory and files when it was dumped. */
export const isRunning = ({ state }: Process): boolean => hasMemory(state);

/** Linux lets both together be 6 MiB at most: bprm_stack_limits in fs/exec.c. */
const STRINGS_BYTES = 6 * 1024 * 1024;
const STRINGS_LIMIT = 500_000;

/**
 * A process's arguments, as they stood in its memory: programs may have written over them.
 *
 * Errors: `ArchiveError`: `missing` when the checkpoint does not hold them; `malformed`, `too-large`.
 */
export async function readArguments(memory: AddressSpace): Promise<string[]> {
  const strings = await readStrings(memory, memory.descriptor.arguments);
  // A program that shows its state in place of its arguments leaves NULs behind it, which are no arguments.
  if (strings.at(-1) === "" && strings.length !== (await readArgumentCount(memory))) {
    while (strings.at(-1) === "") strings.pop();
  }
  return strings;
}

/** A process's environment as it was given it (setenv(3) puts changes elsewhere): `NAME=value`. Errors as above. */
export const readEnvironment = async (memory: AddressSpace): Promise<string[]> =>
  (await readStrings(memory, memory.descriptor.environment)).filter((variable) => variable !== "");

/** How many arguments it was given, where its stack still says so. */
async function readArgumentCount(memory: AddressSpace): Promise<number | undefined> {
  try {
    return Number((await memory.read(memory.descriptor.stackStart, 8)).readBigUInt64LE());
  } catch (error) {
    if (error instanceof ArchiveError) return undefined;
    throw error;
  }
}

/** Each ends with a NUL. */
async function readStrings(
  memory: AddressSpace,
  { start, end }: { start: bigint; end: bigint },
): Promise<string[]> {
  if (end === start) return [];
  const length = end - start;
  const what = `process ${memory.pid}: arguments or environment`;
  if (length < 0n) throw new ArchiveError("malformed", `${what} that end before they begin`);
  if (length > STRINGS_BYTES) throw new ArchiveError("too-large", `${what} of ${length} bytes`);
  const bytes = await memory.read(start, Number(length));
  let count = 1;
  for (let at = bytes.indexOf(0); at >= 0 && at < bytes.length - 1; at = bytes.indexOf(0, at + 1)) count += 1;
  if (count > STRINGS_LIMIT) throw new ArchiveError("too-large", `${what} of ${count} strings`);
  return bytes.toString("utf8", 0, bytes.length - (bytes.at(-1) === 0 ? 1 : 0)).split("\0");
}
