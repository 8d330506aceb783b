import { closeSync, fstatSync, openSync, readSync } from "node:fs";

const TAIL_BYTES = 64 * 1024;
const MAX_ERRORS = 3;

/** The last errors of a CRIU log; none when there is no such file. */
export function criuErrors(path: string): string[] {
  let text: string;
  try {
    const file = openSync(path, "r");
    try {
      const { size } = fstatSync(file);
      const tail = Buffer.alloc(Math.min(size, TAIL_BYTES));
      readSync(file, tail, 0, tail.length, size - tail.length);
      text = tail.toString("utf8");
    } finally {
      closeSync(file);
    }
  } catch {
    return [];
  }
  return text
    .split("\n")
    .filter((line) => /Error \(/.test(line))
    .map((line) => line.replace(/^\([0-9.]+\) *[0-9]*:? */, "").slice(0, 300))
    .slice(-MAX_ERRORS);
}
