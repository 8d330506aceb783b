import { backoffDelay } from "./backoff.ts";
import { keyOf } from "./owner.ts";
import type { KubeObject } from "./resources.ts";
import { after } from "./signals.ts";

/** One change: an object's newest (or last) state, and the state this handler took before it, if any. */
export interface Change<T extends KubeObject> {
  type: "apply" | "delete";
  object: T;
  previous?: T;
}

export type Handler<T extends KubeObject> = (change: Change<T>) => void;

const backoff = { baseMs: 100, maxMs: 60_000, jitter: 0.5 };

/**
 * Delivers changes to one handler. A change whose handler threw is kept, the newest for each key, and delivered
 * again with growing delays until the handler takes it: no error of a handler makes it miss what happened, or keeps
 * others from hearing of it.
 */
export class Subscription<T extends KubeObject> {
  readonly #handler: Handler<T>;
  readonly #onError: (error: unknown, change: Change<T>) => void;
  readonly #owed = new Map<string, Change<T>>();
  #failures = 0;
  #cancelRetry: (() => void) | undefined;
  #closed = false;

  constructor(handler: Handler<T>, onError: (error: unknown, change: Change<T>) => void) {
    this.#handler = handler;
    this.#onError = onError;
  }

  deliver(change: Change<T>): void {
    const key = keyOf(change.object.metadata);
    const owed = this.#owed.get(key);
    // What the handler last took, not what it failed on, is what this change is to be compared with.
    const complete = owed ? { ...change, previous: owed.previous } : change;
    if (this.#attempt(key, complete)) return;
    this.#failures ||= 1;
    this.#scheduleRetry();
  }

  close(): void {
    this.#closed = true;
    this.#cancelRetry?.();
    this.#owed.clear();
  }

  #attempt(key: string, change: Change<T>): boolean {
    if (this.#closed) return true;
    try {
      this.#handler(change);
      this.#owed.delete(key);
      return true;
    } catch (error) {
      this.#owed.set(key, change);
      this.#onError(error, change);
      return false;
    }
  }

  #scheduleRetry(): void {
    this.#cancelRetry ??= after(backoffDelay(backoff, this.#failures), () => {
      this.#cancelRetry = undefined;
      const outcomes = [...this.#owed].map(([key, change]) => this.#attempt(key, change));
      this.#failures = outcomes.includes(false) ? this.#failures + 1 : 0;
      if (this.#failures > 0 && !this.#closed) this.#scheduleRetry();
    });
  }
}
