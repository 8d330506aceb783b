import { keyOf } from "./owner.ts";
import type { KubeObject } from "./resources.ts";

/** Computes the values under which an object is found again: always the same ones for the same object. */
export type Indexer<T> = (object: T) => string[];

/** Objects by key, and by the values that indexers give them. */
export class Store<T extends KubeObject> {
  readonly #objects = new Map<string, T>();
  readonly #indexers: Record<string, Indexer<T>>;
  /** Index -> value -> keys. */
  readonly #keys = new Map<string, Map<string, Set<string>>>();

  constructor(indexers: Record<string, Indexer<T>> = {}) {
    this.#indexers = indexers;
    for (const index of Object.keys(indexers)) this.#keys.set(index, new Map());
  }

  get size(): number {
    return this.#objects.size;
  }

  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  list(): T[] {
    return [...this.#objects.values()];
  }

  /** Errors: a TypeError for an index that was not declared. */
  byIndex(index: string, value: string): T[] {
    const keys = this.#keys.get(index);
    if (!keys) throw new TypeError(`there is no index ${index}`);
    return Array.from(keys.get(value) ?? [], (key) => this.#objects.get(key)!);
  }

  /** Puts an object in; returns the one it takes the place of. */
  set(object: T): T | undefined {
    const key = keyOf(object.metadata);
    const previous = this.delete(key);
    this.#objects.set(key, object);
    for (const [keys, value] of this.#valuesOf(object)) {
      const among = keys.get(value);
      if (among) among.add(key);
      else keys.set(value, new Set([key]));
    }
    return previous;
  }

  /** Takes an object out; returns it. */
  delete(key: string): T | undefined {
    const object = this.#objects.get(key);
    if (!object) return undefined;
    this.#objects.delete(key);
    for (const [keys, value] of this.#valuesOf(object)) {
      const among = keys.get(value);
      among?.delete(key);
      if (among?.size === 0) keys.delete(value);
    }
    return object;
  }

  /** Under which values of which indexes the object is found: worked out anew, for they take as much as objects do. */
  *#valuesOf(object: T): Iterable<[keys: Map<string, Set<string>>, value: string]> {
    for (const [index, indexer] of Object.entries(this.#indexers)) {
      const keys = this.#keys.get(index)!;
      for (const value of indexer(object)) yield [keys, value];
    }
  }
}
