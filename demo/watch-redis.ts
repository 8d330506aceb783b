import { delay } from "../src/kube/signals.ts";
import type { Poll } from "./outage.ts";
import { Redis } from "./redis.ts";

const INTERVAL_MS = 20;
/** A container that is being restored drops packets: silence is no answer. */
const PATIENCE_MS = 200;

/**
 * Asks a Redis how many keys it has, about fifty times a second and each time on a new connection, until `until`
 * says so of what was seen. Errors: the signal's reason; the first error of `until`.
 */
export async function watchRedis(
  host: string,
  until: (polls: readonly Poll[]) => boolean,
  signal: AbortSignal,
): Promise<Poll[]> {
  const polls: Poll[] = [];
  for (;;) {
    const began = performance.now();
    const keys = await ask(host);
    polls.push(keys === undefined ? { atMs: began } : { atMs: performance.now(), keys });
    if (until(polls)) return polls;
    await delay(Math.max(1, INTERVAL_MS - (performance.now() - began)), signal);
  }
}

async function ask(host: string): Promise<number | undefined> {
  try {
    using redis = await Redis.connect(host, { timeoutMs: PATIENCE_MS });
    return await redis.size();
  } catch {
    return undefined;
  }
}
