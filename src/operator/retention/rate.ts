/** So many a minute, and no more than a sixth of a minute's at once. */
export class Rate {
  readonly #perMs: number;
  readonly #most: number;
  readonly #now: () => Date;
  #left: number;
  #at: number;

  constructor(perMinute: number, now: () => Date) {
    this.#perMs = perMinute / 60_000;
    this.#most = Math.max(1, perMinute / 6);
    this.#now = now;
    this.#left = this.#most;
    this.#at = now().getTime();
  }

  /** Takes one, if one is left. */
  tryTake(): boolean {
    const now = this.#now().getTime();
    this.#left = Math.min(this.#most, this.#left + Math.max(0, now - this.#at) * this.#perMs);
    this.#at = now;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }

  /** Until as many are left as may be taken at once, in milliseconds. */
  get fullMs(): number {
    return Math.ceil((this.#most - this.#left) / this.#perMs);
  }
}

/** It rests four times as long as it took: what is large takes no more than a fifth of the time. */
const REST = 4;

/** When each key may be worked at again: every step of every checkpoint is a change. */
export class Pace {
  readonly #gapMs: number;
  readonly #now: () => number;
  readonly #notBefore = new Map<string, number>();

  /** No key sooner again than after `gapMs`; `now` is in milliseconds. */
  constructor(gapMs: number, now: () => number = () => performance.now()) {
    this.#gapMs = gapMs;
    this.#now = now;
  }

  /** Until it may be worked at, in milliseconds; zero: now. */
  waitMs(key: string): number {
    return Math.max(0, (this.#notBefore.get(key) ?? 0) - this.#now());
  }

  /** It was worked at since then; `leastMs` is how long it has to wait in any case. Gives how long it does. */
  rest(key: string, since: number, leastMs = 0): number {
    const restMs = Math.max(this.#gapMs, REST * (this.#now() - since), leastMs);
    this.#notBefore.set(key, this.#now() + restMs);
    return restMs;
  }

  forget(key: string): void {
    this.#notBefore.delete(key);
  }
}
