import { PassThrough } from "node:stream";
import { delay } from "../../kube/signals.ts";
import { type Io, write } from "../io.ts";

const INTERVAL_MS = 2_000;

/**
 * Shows something again and again, until the signal aborts: on a terminal in the same place, elsewhere behind what was
 * there before, and only when it has changed.
 *
 * Errors: those of `once` at its first time; the signal's reason.
 */
export async function repeat(
  io: Io,
  once: (io: Io) => Promise<void>,
  intervalMs = INTERVAL_MS,
): Promise<never> {
  let before: string | undefined;
  for (;;) {
    const text = await captured(io, once);
    if (text !== before || io.terminal.out) {
      // Home, then what is left of each line, then of the screen: without a flicker.
      const shown = io.terminal.out ? `\x1b[H${text.replaceAll("\n", "\x1b[K\n")}\x1b[J` : text;
      await write(io.stdout, before === undefined && io.terminal.out ? `\x1b[2J${shown}` : shown, io.signal);
    }
    before = text;
    await delay(intervalMs, io.signal);
  }
}

/** What is shown on either stream, in order. */
async function captured(io: Io, once: (io: Io) => Promise<void>): Promise<string> {
  const chunks: Buffer[] = [];
  const stream = new PassThrough();
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once({ ...io, stdout: stream, stderr: stream });
  return Buffer.concat(chunks).toString("utf8");
}
