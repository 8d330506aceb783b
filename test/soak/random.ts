/** Chance that can be had again: the same seed gives the same numbers. */
export class Random {
  #state: number;

  /** @param seed any 32-bit number. */
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** At least 0, less than 1. Tommy Ettinger's mulberry32. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  between(least: number, most: number): number {
    return least + this.next() * (most - least);
  }

  /** Of a distribution without memory, as crashes are. */
  exponential(mean: number): number {
    return -mean * Math.log(1 - this.next());
  }

  /** Errors: a list without anything in it. */
  pick<T>(list: readonly T[]): T {
    if (list.length === 0) throw new RangeError("nothing to pick from");
    return list[Math.floor(this.next() * list.length)]!;
  }

  /** The same in another order. */
  shuffled<T>(list: readonly T[]): T[] {
    const order = list.map((item) => ({ item, at: this.next() }));
    return order.sort((a, b) => a.at - b.at).map(({ item }) => item);
  }

  /** A generator of its own for one of several who draw at times that nobody knows beforehand. */
  split(): Random {
    return new Random(this.next() * 2 ** 32);
  }
}
