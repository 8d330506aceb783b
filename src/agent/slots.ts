/** Room for so many dumps at once, and never two of one container. */
export class Slots {
  readonly #limit: number;
  readonly #held = new Set<string>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  isHeld(key: string): boolean {
    return this.#held.has(key);
  }

  get isFull(): boolean {
    return this.#held.size >= this.#limit;
  }

  /** A slot, held until it is disposed of; undefined when the container has one already or none is free. */
  tryTake(key: string): Disposable | undefined {
    if (this.#held.has(key) || this.isFull) return undefined;
    this.#held.add(key);
    return { [Symbol.dispose]: () => void this.#held.delete(key) };
  }
}
