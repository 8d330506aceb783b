import type { AddressSpace, Extent, Mapping } from "./memory.ts";

/** How much of some memory the checkpoint holds, by where the rest is; in bytes. */
export type MemoryUse = Readonly<Record<Extent["state"], number>>;

export interface MappingUse {
  mapping: Mapping;
  use: MemoryUse;
}

export const NO_MEMORY: MemoryUse = { present: 0, zero: 0, file: 0, kernel: 0, parent: 0, lazy: 0 };

/** What the checkpoint holds of each mapping of a process. No page is read for it. Errors: `ArchiveError`. */
export async function mappingsUse(space: AddressSpace): Promise<MappingUse[]> {
  const uses: MappingUse[] = [];
  for (const mapping of space.mappings) {
    const use = { ...NO_MEMORY };
    for await (const { state, length } of space.extents(mapping)) use[state] += length;
    uses.push({ mapping, use });
  }
  return uses;
}

/** All together. */
export function totalUse(uses: readonly MappingUse[]): MemoryUse {
  const total = { ...NO_MEMORY };
  for (const { use } of uses) {
    for (const state of Object.keys(total) as Extent["state"][]) total[state] += use[state];
  }
  return total;
}
