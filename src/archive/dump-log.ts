import type { Bytes } from "./bytes.ts";

/** What CRIU wrote about a dump. */
export interface DumpLog {
  /** The end of it. */
  tail: string;
  /** Its lines that report an error, the last ones, each cut to a length fit for a message. */
  errors: readonly string[];
  /** Whether it says that the dump was finished. */
  finished: boolean;
  /** CRIU's version, as it introduces itself: `4.2.1`. */
  version?: string;
  /** How the processor saves its state, where there is such a thing (x86): CPUID leaf 0xd. */
  xsave?: { features: string; size: number; maxSize: number };
}

const TAIL_BYTES = 16 * 1024;
const CHUNK_BYTES = 256 * 1024;
const SCAN_BYTES = 64 * 1024 * 1024;
const MAX_ERRORS = 20;
const LINE_LENGTH = 500;
/** `(00.012345) Error (criu/sk-inet.c:191): ...`, in a child with its pid: `(00.012345)     12: Error (...`. */
const ERROR_LINE = /^\([0-9.]+\)(?: +[0-9]+:)? +Error \(/;
/** `(00.000179) Version: 4.2.1 (gitid 0)` (criu/log.c, print_versions). */
const VERSION_LINE = /^\([0-9.]+\) Version: (\S{1,64})/;
/** With debug output, which runc asks for (compel/arch/x86/src/lib/cpu.c). */
const XSAVE_LINE =
  /fpu: xfeatures_mask (0x[0-9a-f]{1,16}) xsave_size ([0-9]{1,7}) xsave_size_max ([0-9]{1,7}) /;

/** Reads `dump.log` with bounded memory; of a log beyond all measure only the end is looked at. */
export async function readDumpLog(bytes: Bytes): Promise<DumpLog> {
  const errors: string[] = [];
  let finished = false;
  let version: string | undefined;
  let xsave: DumpLog["xsave"];
  let partial = "";
  const look = (line: string) => {
    if (ERROR_LINE.test(line)) errors.push(line.slice(0, LINE_LENGTH));
    if (errors.length > MAX_ERRORS) errors.shift();
    finished ||= line.includes("Dumping finished successfully");
    version ??= VERSION_LINE.exec(line)?.[1];
    xsave ??= xsaveIn(line);
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
  const tail = (await bytes.read(bytes.size - length, length)).toString("utf8");
  return { tail, errors, finished, version, xsave };
}

function xsaveIn(line: string): DumpLog["xsave"] {
  const [, features, size, maxSize] = XSAVE_LINE.exec(line) ?? [];
  return features === undefined ? undefined : { features, size: Number(size), maxSize: Number(maxSize) };
}
