import type { Bytes } from "./bytes.ts";

/** What CRIU wrote about a dump. */
export interface DumpLog {
  /** The end of it. */
  tail: string;
  /** Its lines that report an error, the last ones, each cut to a length fit for a message. */
  errors: readonly string[];
  /** Whether it says that the dump was finished. */
  finished: boolean;
}

const TAIL_BYTES = 16 * 1024;
const CHUNK_BYTES = 256 * 1024;
const SCAN_BYTES = 64 * 1024 * 1024;
const MAX_ERRORS = 20;
const LINE_LENGTH = 500;
/** `(00.012345) Error (criu/sk-inet.c:191): ...`, in a child with its pid: `(00.012345)     12: Error (...`. */
const ERROR_LINE = /^\([0-9.]+\)(?: +[0-9]+:)? +Error \(/;

/** Reads `dump.log` with bounded memory; of a log beyond all measure only the end is looked at. */
export async function readDumpLog(bytes: Bytes): Promise<DumpLog> {
  const errors: string[] = [];
  let finished = false;
  let partial = "";
  const look = (line: string) => {
    if (ERROR_LINE.test(line)) errors.push(line.slice(0, LINE_LENGTH));
    if (errors.length > MAX_ERRORS) errors.shift();
    finished ||= line.includes("Dumping finished successfully");
  };
  for (let at = Math.max(0, bytes.size - SCAN_BYTES); at < bytes.size; at += CHUNK_BYTES) {
    const chunk = await bytes.read(at, Math.min(CHUNK_BYTES, bytes.size - at));
    const lines = (partial + chunk.toString("latin1")).split("\n");
    // What is longer than any line is cut: its beginning is all that is looked at.
    partial = (lines.pop() ?? "").slice(0, CHUNK_BYTES);
    for (const line of lines) look(line);
  }
  look(partial);
  const length = Math.min(TAIL_BYTES, bytes.size);
  return { tail: (await bytes.read(bytes.size - length, length)).toString("utf8"), errors, finished };
}
