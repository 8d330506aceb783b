import { once } from "node:events";
import type { Readable, Writable } from "node:stream";

/** All that a command reads from and writes to: the process's own, or a test's. */
export interface Io {
  stdin: Readable;
  stdout: Writable;
  stderr: Writable;
  env: Readonly<Record<string, string | undefined>>;
  /** Aborts when the person has had enough (Ctrl-C), or a pipe's reader has gone. */
  signal: AbortSignal;
  /** Width of the terminal, in characters; absent where there is none. */
  columns?: number;
  /** Whether stdout shows colours. */
  colour: boolean;
  /** Which of the streams are a terminal. */
  terminal: { in: boolean; out: boolean; err: boolean };
  /** What the program ends with if the command does not fail; a command that finds a "no" sets EXIT.no. */
  exitCode: number;
  /** What the program is called: `kcr`, or `kubectl kcr`. */
  program: string;
}

/** The process's own streams. NO_COLOR (no-color.org) and TERM=dumb take colours away. */
export function processIo(signal: AbortSignal, program: string): Io {
  const { stdin, stdout, stderr, env } = process;
  const terminal = { in: stdin.isTTY === true, out: stdout.isTTY === true, err: stderr.isTTY === true };
  return {
    stdin,
    stdout,
    stderr,
    env,
    signal,
    columns: stdout.columns ?? stderr.columns,
    colour: terminal.out && !env["NO_COLOR"] && env["TERM"] !== "dumb",
    terminal,
    exitCode: 0,
    program,
  };
}

/**
 * Writes text as it is, and waits where the reader is slower. Everything that comes from an archive or an object
 * has gone through safe() before.
 */
export async function write(
  stream: Writable,
  text: string | Uint8Array,
  signal?: AbortSignal,
): Promise<void> {
  if (text.length > 0 && !stream.write(text)) await once(stream, "drain", { signal });
}

/** Lines to stdout. */
export const print = (io: Io, ...lines: string[]): Promise<void> => printAll(io, lines);

/** As {@link print}, of however many lines: a call can have only so many arguments. */
export const printAll = (io: Io, lines: readonly string[]): Promise<void> =>
  write(io.stdout, lines.map((line) => `${line}\n`).join(""), io.signal);

/** What a person at a terminal may want to do next; scripts are not told. */
export function hint(io: Io, ...lines: string[]): void {
  if (io.terminal.out && io.terminal.err) io.stderr.write(lines.map((line) => `${line}\n`).join(""));
}
