import type { CheckpointArchive } from "../../archive/checkpoint.ts";
import { readFiles } from "../../archive/criu/files.ts";
import { AddressSpace } from "../../archive/memory.ts";
import { isRunning, type Process, readProcesses } from "../../archive/processes.ts";
import { UsageError } from "../errors.ts";

/** A process whose memory the checkpoint holds. */
export interface ProcessMemory {
  process: Process;
  space: AddressSpace;
}

/**
 * The processes with memory, each opened when it is come to: all of them, parents before their children, or the one
 * of this number.
 *
 * Errors: `UsageError` for a number that is no such process's; `ArchiveError`.
 */
export async function* processMemories(
  { tar }: Pick<CheckpointArchive, "tar">,
  pid?: number,
): AsyncGenerator<ProcessMemory, void, undefined> {
  const tree = await readProcesses(tar);
  if (pid !== undefined) assertRunning(tree.find(pid), pid);
  const files = await readFiles(tar);
  for (const { process } of tree.walk()) {
    if (!isRunning(process) || (pid !== undefined && process.pid !== pid)) continue;
    yield { process, space: await AddressSpace.open(tar, process.pid, files) };
  }
}

/** Errors: as `processMemories`. */
export async function assertProcess({ tar }: Pick<CheckpointArchive, "tar">, pid: number): Promise<void> {
  assertRunning((await readProcesses(tar)).find(pid), pid);
}

function assertRunning(process: Process | undefined, pid: number): void {
  if (process === undefined) throw new UsageError(`no process ${pid}: kcr ps lists those that there are`);
  if (!isRunning(process))
    throw new UsageError(`process ${pid} has ended (${process.state}) and has no memory`);
}
