import type { CheckpointArchive } from "../../archive/checkpoint.ts";
import type { AddressSpace } from "../../archive/memory.ts";
import { diffMemory } from "../../archive/memory-diff.ts";
import { type ProcessMemory, processMemories } from "../memory/processes.ts";

/** How the memory of a process that both checkpoints have differs; all numbers are pages. */
export interface ProcessDiff {
  pid: number;
  name: string;
  /** In bytes. */
  pageSize: number;
  /** That the second checkpoint speaks of, and of these those that differ. */
  pages: number;
  changed: number;
  /** Of which one of the archives does not hold what is in them. */
  unknown: number;
  mappings: readonly MappingChange[];
}

export interface MappingChange {
  change: "added" | "removed" | "changed";
  start: string;
  end: string;
  permissions: string;
  kind: string;
  name: string;
  pages: number;
  changed: number;
  unknown: number;
}

/** Only processes whose memory differs; one that only one checkpoint has differs as a process. */
export async function processMemoryDiffs(
  a: CheckpointArchive,
  b: CheckpointArchive,
  { signal, onProgress }: { signal: AbortSignal; onProgress?: (bytes: number) => void },
): Promise<ProcessDiff[]> {
  const before = new Map<number, AddressSpace>();
  for await (const { process, space } of processMemories(a)) before.set(process.pid, space);
  const differences: ProcessDiff[] = [];
  let compared = 0;
  for await (const memory of processMemories(b)) {
    const old = before.get(memory.process.pid);
    if (old === undefined) continue;
    let last = 0;
    const difference = await diffProcess(old, memory, signal, (bytes) => {
      last = bytes;
      onProgress?.(compared + bytes);
    });
    compared += last;
    if (difference.mappings.length > 0) differences.push(difference);
  }
  return differences;
}

async function diffProcess(
  old: AddressSpace,
  { process: { pid, name }, space }: ProcessMemory,
  signal: AbortSignal,
  onProgress: (bytes: number) => void,
): Promise<ProcessDiff> {
  const { pageSize } = space;
  const total = { pages: space.pagemap.mappedBytes / pageSize, changed: 0, unknown: 0 };
  const mappings: MappingChange[] = [];
  for await (const { mapping, ...counts } of diffMemory(old, space, { signal, onProgress })) {
    const { start, end, permissions, kind, name } = mapping;
    mappings.push({ start: start.toString(16), end: end.toString(16), permissions, kind, name, ...counts });
    total.changed += counts.changed;
    total.unknown += counts.unknown;
  }
  return { pid, name, pageSize, ...total, mappings };
}
