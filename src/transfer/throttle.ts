import { setTimeout as sleep } from "node:timers/promises";

/** Bytes that were not used are kept for so long, in milliseconds. */
const BURST_MS = 100;

export interface Clock {
  /** Milliseconds from any beginning. */
  now(): number;
  /** Errors: the signal's reason. */
  sleep(milliseconds: number, signal: AbortSignal): Promise<void>;
}

export const realClock: Clock = {
  now: () => performance.now(),
  async sleep(milliseconds, signal) {
    await sleep(milliseconds, undefined, { signal }).catch((error: unknown) => {
      signal.throwIfAborted();
      throw error;
    });
  },
};

/** Lets so many bytes pass in a second, of all that share it together. */
export class Throttle {
  readonly #bytesPerSecond: number;
  readonly #clock: Clock;
  /** When all that has passed is paid for. */
  #paid = Number.NEGATIVE_INFINITY;

  constructor(bytesPerSecond = Number.POSITIVE_INFINITY, clock = realClock) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#clock = clock;
  }

  /** Resolves when that many bytes may pass. Errors: the signal's reason. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    if (this.#bytesPerSecond === Number.POSITIVE_INFINITY) return;
    const now = this.#clock.now();
    this.#paid = Math.max(this.#paid, now - BURST_MS) + (bytes / this.#bytesPerSecond) * 1000;
    if (this.#paid > now) await this.#clock.sleep(this.#paid - now, signal);
  }
}
