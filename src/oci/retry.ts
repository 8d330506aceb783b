import { setTimeout as sleep } from "node:timers/promises";
import { hasCode } from "./errors.ts";
import type { Limits } from "./http.ts";

/** How long the registry asked to be left alone, in milliseconds, by the error that says so. */
const waits = new WeakMap<object, number>();

/** Notes the `Retry-After` of the answer that `error` was made of: seconds, or a date (RFC 9110, 10.2.3). */
export function noteRetryAfter(error: object, header: string | undefined): void {
  if (header === undefined) return;
  const milliseconds = /^[0-9]{1,9}$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  if (milliseconds > 0) waits.set(error, milliseconds);
}

/** Counts tries, and makes the pauses between them longer and longer. */
export class Retries {
  readonly #limits: Limits;
  #failures = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** There was headway: count from the beginning. */
  reset(): void {
    this.#failures = 0;
  }

  /** Pauses before the next try. Throws `error` itself when there is none, the signal's reason when aborted. */
  async pause(error: unknown, signal?: AbortSignal): Promise<void> {
    const { attempts, retryDelayMs, maxRetryDelayMs } = this.#limits;
    this.#failures += 1;
    if (this.#failures >= attempts) throw error;
    const asked = (typeof error === "object" && error && waits.get(error)) || 0;
    // Between half and all of it, so that many clients do not come back at one instant.
    const own = retryDelayMs * 2 ** (this.#failures - 1) * (0.5 + Math.random() / 2);
    const milliseconds = Math.min(Math.max(asked, own), maxRetryDelayMs);
    await sleep(milliseconds, undefined, { signal }).catch(() => signal?.throwIfAborted());
  }
}

/** Tries until it works, for as long as the registry is `unreachable` and the limits allow. */
export async function retrying<T>(
  limits: Limits,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  const retries = new Retries(limits);
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!hasCode(error, "unreachable")) throw error;
      await retries.pause(error, signal);
    }
  }
}
