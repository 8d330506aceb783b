/** What was seen of a Redis while it was asked again and again: pure, from the answers alone. */

export interface Poll {
  /** When it was answered, or asked in vain: milliseconds of any clock that only goes forward. */
  atMs: number;
  /** Keys it said it has; absent: no answer. */
  keys?: number;
}

export type Stage = "full" | "partial" | "empty" | "down";

/** A stretch of polls that all saw the same: from the first to the last of them. */
export interface Span {
  stage: Stage;
  fromMs: number;
  toMs: number;
}

export interface Outage {
  /** From SIGKILL to the first answer with the full data, in whole milliseconds. */
  killToServingMs: number;
  /** From the first answer of an empty database to the last; 0 if none. */
  emptyWindowMs: number;
  /** What was seen from SIGKILL on, the first full answer last. */
  spans: Span[];
}

export function stageOf({ keys }: Pick<Poll, "keys">, full: number): Stage {
  if (keys === undefined) return "down";
  if (keys >= full) return "full";
  return keys === 0 ? "empty" : "partial";
}

export function spansOf(polls: readonly Poll[], full: number): Span[] {
  const spans: Span[] = [];
  for (const poll of polls) {
    const stage = stageOf(poll, full);
    const last = spans.at(-1);
    if (last?.stage === stage) last.toMs = poll.atMs;
    else spans.push({ stage, fromMs: poll.atMs, toMs: poll.atMs });
  }
  return spans;
}

/**
 * The outage that began with a kill; undefined while it has not ended, or not begun.
 *
 * @param killMs when the kill was ordered. The command takes its time: a full answer after it shows that the
 *   process was still alive then, so the later of the two counts as the moment of SIGKILL.
 */
export function outageOf(polls: readonly Poll[], full: number, killMs: number): Outage | undefined {
  const spans = spansOf(polls, full);
  const began = spans.findIndex(({ stage, toMs }) => stage !== "full" && toMs >= killMs);
  const ended = spans.findIndex(({ stage }, i) => stage === "full" && i > began);
  if (began < 0 || ended < 0) return undefined;
  const killedMs = Math.max(killMs, spans[began - 1]?.toMs ?? killMs);
  const seen = spans.slice(began, ended + 1);
  const empty = seen.filter(({ stage }) => stage === "empty");
  return {
    killToServingMs: Math.round(spans[ended]!.fromMs - killedMs),
    emptyWindowMs: empty.length === 0 ? 0 : Math.round(empty.at(-1)!.toMs - empty[0]!.fromMs),
    spans: seen,
  };
}
