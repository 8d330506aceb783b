import type { Bytes } from "../bytes.ts";
import { ArchiveError } from "../errors.ts";
import { imageBatches } from "./image.ts";
import { parseMessage } from "./message.ts";

/** A process as pstree.img has it (images/pstree.proto). Numbers are those of its own PID namespace. */
export interface PstreeEntry {
  pid: number;
  /** 0 for the first process. */
  ppid: number;
  pgid: number;
  sid: number;
  /** Of all its threads; the first is the process's own. */
  threads: readonly number[];
}

/** A container is limited to far fewer by the kernel's pid_max or its control group. */
const PROCESS_LIMIT = 100_000;
const THREAD_LIMIT = 500_000;

/** Errors: `ArchiveError`; `malformed` also for two processes of one number. */
export async function readPstree(image: Bytes): Promise<PstreeEntry[]> {
  const entries = new Map<number, PstreeEntry>();
  let threads = 0;
  for await (const records of imageBatches(image, "pstree")) {
    for (const record of records) {
      const message = parseMessage(image.name, record);
      const entry: PstreeEntry = {
        pid: message.number(1) ?? 0,
        ppid: message.number(2) ?? 0,
        pgid: message.number(3) ?? 0,
        sid: message.number(4) ?? 0,
        threads: message.numbers(5),
      };
      if (entry.pid === 0 || entries.has(entry.pid)) {
        throw new ArchiveError(
          "malformed",
          `${image.name}: two processes ${entry.pid}, or one without a number`,
        );
      }
      entries.set(entry.pid, entry);
      threads += entry.threads.length;
      if (entries.size > PROCESS_LIMIT || threads > THREAD_LIMIT) {
        throw new ArchiveError("too-large", `${image.name}: more processes or threads than are read`);
      }
    }
  }
  return [...entries.values()];
}
