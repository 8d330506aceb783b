import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { errorLines } from "../archive/criu/failures.ts";

const TAIL_BYTES = 64 * 1024;
const MAX_ERRORS = 20;

/** The last errors of a CRIU log; none when there is no such file. */
export function criuErrors(path: string): string[] {
  try {
    const file = openSync(path, "r");
    try {
      const { size } = fstatSync(file);
      const tail = Buffer.alloc(Math.min(size, TAIL_BYTES));
      readSync(file, tail, 0, tail.length, size - tail.length);
      return errorLines(tail.toString("utf8")).slice(-MAX_ERRORS);
    } finally {
      closeSync(file);
    }
  } catch {
    return [];
  }
}
