import { createInterface } from "node:readline/promises";
import type { Io } from "./io.ts";

/**
 * Asks a person at a terminal, on stderr; yes without asking where there is no terminal, for then somebody has
 * written the command down on purpose.
 *
 * Errors: the signal's reason.
 */
export async function confirm(io: Io, question: string): Promise<boolean> {
  if (!io.terminal.in || !io.terminal.err) return true;
  // Not as a terminal: that would take Ctrl-C for itself.
  const lines = createInterface({ input: io.stdin, output: io.stderr, terminal: false });
  const ended = new Promise<string>((resolve) => lines.once("close", () => resolve("")));
  try {
    const answer = await Promise.race([lines.question(`${question} [y/N] `, { signal: io.signal }), ended]);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    lines.close();
  }
}
