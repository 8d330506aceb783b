import type { Bytes } from "../bytes.ts";
import { ArchiveError } from "../errors.ts";
import { firstRecord } from "./image.ts";
import { parseMessage } from "./message.ts";

/** How a dump went, by CRIU's own account; times in microseconds. */
export interface DumpStats {
  /** Until all tasks had stopped. */
  freezingUs: number;
  /** How long they were stopped. */
  frozenUs: number;
  memdumpUs: number;
  memwriteUs: number;
  pagesScanned: number;
  /** Pages left to the parent checkpoint. */
  pagesSkipped: number;
  pagesWritten: number;
}

/** Reads `stats-dump` (images/stats.proto, stats_entry). Errors: `ArchiveError`. */
export async function readDumpStats(bytes: Bytes): Promise<DumpStats> {
  const dump = parseMessage(bytes.name, await firstRecord(bytes, "stats")).message(1);
  if (!dump) throw new ArchiveError("malformed", `${bytes.name}: holds no statistics of a dump`);
  const number = (field: number) => dump.number(field) ?? 0;
  return {
    freezingUs: number(1),
    frozenUs: number(2),
    memdumpUs: number(3),
    memwriteUs: number(4),
    pagesScanned: number(5),
    pagesSkipped: number(6),
    pagesWritten: number(7),
  };
}
