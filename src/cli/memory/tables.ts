import type { CheckpointArchive } from "../../archive/checkpoint.ts";
import type { Mapping } from "../../archive/memory.ts";
import { isSelected, type Selection } from "../../archive/memory-search.ts";
import { type MappingUse, type MemoryUse, mappingsUse, totalUse } from "../../archive/memory-use.ts";
import type { View } from "../output/print.ts";
import { size } from "../output/sizes.ts";
import type { Column } from "../output/table.ts";
import { processMemories } from "./processes.ts";

/** What `-o json` shows of a process; all in bytes. */
export interface ProcessRow {
  pid: number;
  name: string;
  /** All mappings. */
  size: number;
  /** Pages of its own that the images speak of, wherever they are: checkpointctl's "Memory size". */
  memory: number;
  /** Mappings that are shared: checkpointctl's "Shared memory size". */
  shared: number;
  /** What the archive holds, and where the rest is. */
  held: MemoryUse;
}

/** How much memory each process has. Errors: as `processMemories`. */
export async function processTable(archive: CheckpointArchive): Promise<View<ProcessRow>> {
  const rows: ProcessRow[] = [];
  for await (const { process, space } of processMemories(archive)) {
    const { pid, name } = process;
    const sum = (mappings: readonly Mapping[]) =>
      mappings.reduce((bytes, mapping) => bytes + mapping.size, 0);
    rows.push({
      pid,
      name,
      size: sum(space.mappings),
      memory: space.pagemap.mappedBytes,
      shared: sum(space.mappings.filter(isShared)),
      held: totalUse(await mappingsUse(space)),
    });
  }
  const bytes = (header: string, value: (row: ProcessRow) => number, wide = false): Column<ProcessRow> => ({
    header,
    value: (row) => size(value(row)),
    align: "right",
    wide,
  });
  return {
    columns: [
      { header: "PID", value: ({ pid }) => pid, align: "right" },
      { header: "NAME", value: ({ name }) => name },
      bytes("SIZE", (row) => row.size),
      bytes("MEMORY", (row) => row.memory),
      bytes("SHARED", (row) => row.shared),
      bytes("IN ARCHIVE", (row) => row.held.present),
      bytes("IN PARENT", (row) => row.held.parent, true),
      bytes("IN FILES", (row) => row.held.file, true),
      bytes("UNTOUCHED", (row) => row.held.zero, true),
    ],
    rows,
    data: { processes: rows },
    name: ({ pid }) => String(pid),
    none: "no process had memory",
  };
}

/** What `-o json` shows of a mapping. */
export interface MappingRow {
  start: string;
  end: string;
  permissions: string;
  kind: Mapping["kind"];
  name: string;
  /** In bytes, as `held`. */
  size: number;
  held: MemoryUse;
}

/** The mappings of one process, in the order of their addresses. Errors: as `processMemories`. */
export async function mappingTable(
  archive: CheckpointArchive,
  pid: number,
  selection: Selection = {},
): Promise<View<MappingRow>> {
  const rows: MappingRow[] = [];
  for await (const { space } of processMemories(archive, pid)) {
    for (const use of await mappingsUse(space)) {
      if (isSelected(use.mapping, selection)) rows.push(mappingRow(use));
    }
  }
  return {
    columns: [
      { header: "RANGE", value: ({ start, end }) => `${start}-${end}` },
      { header: "PERM", value: ({ permissions }) => permissions },
      { header: "KIND", value: ({ kind }) => kind },
      { header: "SIZE", value: ({ size: bytes }) => size(bytes), align: "right" },
      { header: "IN ARCHIVE", value: ({ held }) => size(held.present), align: "right" },
      { header: "IN PARENT", value: ({ held }) => size(held.parent), align: "right", wide: true },
      { header: "NAME", value: ({ name }) => name },
    ],
    rows,
    data: { pid, mappings: rows },
    name: ({ start, end }) => `${start}-${end}`,
    none: `process ${pid} has no such memory`,
  };
}

function mappingRow({ mapping, use: held }: MappingUse): MappingRow {
  const { start, end, permissions, kind, name, size } = mapping;
  return { start: start.toString(16), end: end.toString(16), permissions, kind, name, size, held };
}

const isShared = ({ permissions }: Mapping): boolean => permissions.endsWith("s");
