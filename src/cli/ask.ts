import { createInterface } from "node:readline/promises";
import { UsageError } from "./errors.ts";
import type { Io } from "./io.ts";

/**
 * Asks a person at a terminal, on stderr; yes without asking where there is no terminal, for then somebody has
 * written the command down on purpose.
 *
 * Errors: UsageError for a person at a terminal who would not see the question; the signal's reason.
 */
export async function confirm(io: Io, question: string): Promise<boolean> {
  if (!io.terminal.in) return true;
  if (!io.terminal.err) throw new UsageError(`${question} Nobody sees this question: say --yes`);
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
