/** One holder per key at a time; the others wait in order. */
export class Locks {
  readonly #last = new Map<string, Promise<void>>();

  /** The lock, held until it is disposed of. */
  async take(key: string): Promise<Disposable> {
    const before = this.#last.get(key);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#last.set(key, promise);
    await before;
    return {
      [Symbol.dispose]: () => {
        if (this.#last.get(key) === promise) this.#last.delete(key);
        resolve();
      },
    };
  }
}
