import { Readable, Writable } from "node:stream";
import type { Io } from "../io.ts";
import { run } from "../program.ts";

/** An Io for tests, with what has been written to it. */
export interface TestIo extends Io {
  written: { out: string; err: string };
}

/** `tty`: all streams are a terminal, of 80 columns. */
export function testIo(options: { tty?: boolean; input?: string } & Partial<Io> = {}): TestIo {
  const { tty = false, input = "", ...given } = options;
  const written = { out: "", err: "" };
  const into = (key: "out" | "err") =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        written[key] += chunk.toString("utf8");
        done();
      },
    });
  return {
    stdin: Readable.from([input]),
    stdout: into("out"),
    stderr: into("err"),
    env: {},
    signal: new AbortController().signal,
    columns: tty ? 80 : undefined,
    colour: tty,
    terminal: { in: tty, out: tty, err: tty },
    exitCode: 0,
    program: "kcr",
    written,
    ...given,
  };
}

/** Runs a command line as a person would type it behind `kcr`. */
export async function kcr(
  args: readonly string[],
  io: TestIo = testIo(),
): Promise<{ exit: number; out: string; err: string }> {
  const exit = await run(io, args);
  return { exit, ...io.written };
}
