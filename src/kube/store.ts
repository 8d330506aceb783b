import { keyOf } from "./owner.ts";
import type { KubeObject } from "./resources.ts";

/** Computes the values under which an object is found again. */
export type Indexer<T> = (object: T) => string[];

/** Objects by key, and by the values that indexers give them. */
export class Store<T extends KubeObject> {
  readonly #entries = new Map<string, { object: T; values: Map<string, string[]> }>();
  readonly #indexers: Record<string, Indexer<T>>;
  /** Index -> value -> keys. */
  readonly #keys = new Map<string, Map<string, Set<string>>>();

  constructor(indexers: Record<string, Indexer<T>> = {}) {
    this.#indexers = indexers;
    for (const index of Object.keys(indexers)) this.#keys.set(index, new Map());
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): T | undefined {
    return this.#entries.get(key)?.object;
  }

  list(): T[] {
    return Array.from(this.#entries.values(), (entry) => entry.object);
  }

  /** Errors: a TypeError for an index that was not declared. */
  byIndex(index: string, value: string): T[] {
    const keys = this.#keys.get(index);
    if (!keys) throw new TypeError(`there is no index ${index}`);
    return Array.from(keys.get(value) ?? [], (key) => this.#entries.get(key)!.object);
  }

  /** Puts an object in; returns the one it takes the place of. */
  set(object: T): T | undefined {
    const key = keyOf(object.metadata);
    const values = new Map(
      Object.entries(this.#indexers).map(([index, indexer]) => [index, indexer(object)]),
    );
    const previous = this.delete(key);
    this.#entries.set(key, { object, values });
    for (const [index, its] of values) {
      const keys = this.#keys.get(index)!;
      for (const value of its) {
        const among = keys.get(value);
        if (among) among.add(key);
        else keys.set(value, new Set([key]));
      }
    }
    return previous;
  }

  /** Takes an object out; returns it. */
  delete(key: string): T | undefined {
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    this.#entries.delete(key);
    for (const [index, its] of entry.values) {
      const keys = this.#keys.get(index)!;
      for (const value of its) {
        const among = keys.get(value);
        among?.delete(key);
        if (among?.size === 0) keys.delete(value);
      }
    }
    return entry.object;
  }
}
