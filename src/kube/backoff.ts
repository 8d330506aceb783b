/** How delays between attempts grow. */
export interface Backoff {
  /** Delay after the first failure, in milliseconds. */
  baseMs: number;
  /** No delay is longer, in milliseconds. */
  maxMs: number;
  /** The share of each delay that is random, 0 to 1. */
  jitter: number;
}

/** Delay before the next attempt after `failures` failures in a row (1 is the first), in milliseconds. */
export function backoffDelay(backoff: Backoff, failures: number, random: () => number = Math.random): number {
  const doublings = Math.min(Math.max(failures, 1) - 1, 52);
  const full = Math.min(backoff.maxMs, backoff.baseMs * 2 ** doublings);
  return full * (1 - backoff.jitter * random());
}
