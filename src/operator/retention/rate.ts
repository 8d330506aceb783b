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

  /** Until one is left, in milliseconds. */
  get waitMs(): number {
    return Math.ceil(Math.max(0, 1 - this.#left) / this.#perMs);
  }
}
