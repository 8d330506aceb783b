import type { Backoff } from "./backoff.ts";
import type { Cache } from "./cache.ts";
import { ApiError, isStale } from "./errors.ts";
import type { Logger } from "./log.ts";
import { type Metrics, noMetrics } from "./metrics.ts";
import { keyOf, nameOf } from "./owner.ts";
import { Queue } from "./queue.ts";
import type { KubeObject, ObjectName } from "./resources.ts";
import { after, follow } from "./signals.ts";

/** What a reconcile wishes next: nothing until something changes, or to be called again after so long. */
export type Outcome = { type: "done" } | { type: "again"; afterMs: number };

export const done: Outcome = { type: "done" };
export const again = (afterMs: number): Outcome => ({ type: "again", afterMs });

/** An error that the same attempt would meet again: it is reported, and not tried again until something changes. */
export class TerminalError extends Error {
  override readonly name = "TerminalError";
}

/** Where a controller hears of changes. `map` names the objects to look at; without it, the changed object itself. */
export interface Source {
  subscribe(enqueue: (name: ObjectName) => void): () => void;
  waitForSync(signal: AbortSignal): Promise<void>;
}

/** Changes of a cache's objects. `map` must be quick; one that throws is called again later. */
export function changesOf<T extends KubeObject>(
  cache: Cache<T>,
  map: (object: T, previous?: T) => Iterable<ObjectName> = (object) => [object.metadata],
): Source {
  return {
    subscribe: (enqueue) =>
      cache.subscribe(({ object, previous }) => {
        for (const name of map(object, previous)) enqueue(name);
      }),
    waitForSync: (signal) => cache.waitForSync(signal),
  };
}

export interface ControllerOptions {
  name: string;
  /** How many keys are processed at once. */
  workers?: number;
  /**
   * Brings one object nearer to what it should be, whatever has happened before: it is told the name only, and reads
   * the rest. The signal aborts when the controller stops or the reconcile's time is up.
   */
  reconcile: (name: ObjectName, signal: AbortSignal) => Promise<Outcome>;
  sources: Source[];
  log: Logger;
  /** How long one reconcile may take before its signal aborts, in milliseconds; no limit unless said. */
  timeoutMs?: number;
  backoff?: Backoff;
  /** Told of every reconcile that failed, conflicts included. */
  onError?: (name: ObjectName, error: unknown) => void;
  metrics?: Metrics;
}

/** What becomes of one reconcile. */
type Fate =
  | Outcome
  | { type: "retry"; error: unknown }
  | { type: "terminal"; error: TerminalError }
  | { type: "stopped" };

/** What controller-runtime calls these fates; one that the end of the controller cut short is none. */
const RESULTS = { done: "success", again: "requeue_after", retry: "error", terminal: "error" } as const;

/**
 * Calls `reconcile` for every object that may need it, until it says that nothing is left to do.
 *
 * Guarantees: no object is reconciled twice at once; a change that arrives during a reconcile leads to another one
 * after it; an error leads to another attempt with growing delay, for ever, unless it is a {@link TerminalError};
 * nothing is reconciled before all sources have their first whole picture.
 */
export class Controller {
  readonly #options: ControllerOptions;
  readonly #log: Logger;
  readonly #metrics: Metrics;
  readonly #queue: Queue;
  #active = 0;

  constructor(options: ControllerOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#metrics = options.metrics ?? noMetrics;
    this.#queue = new Queue({ name: options.name, backoff: options.backoff, metrics: options.metrics });
    const { name: controller, workers = 1 } = options;
    this.#metrics.set("controller_runtime_max_concurrent_reconciles", { controller }, workers);
    // A counter that begins with its first error would hide it from whoever asks for the increase.
    for (const result of new Set(Object.values(RESULTS))) {
      this.#metrics.increment("controller_runtime_reconcile_total", { controller, result }, 0);
    }
    this.#metrics.increment("controller_runtime_reconcile_errors_total", { controller }, 0);
    this.#metrics.increment("controller_runtime_terminal_reconcile_errors_total", { controller }, 0);
  }

  /** Has an object looked at, now or after so many milliseconds. */
  enqueue(name: ObjectName, afterMs = 0): void {
    this.#queue.addAfter(keyOf(name), afterMs);
  }

  /** Works until the signal aborts; resolves when the last worker has put down what it had in hand. */
  async run(signal: AbortSignal): Promise<void> {
    const { sources, workers = 1 } = this.#options;
    using stop = follow(signal);
    stop.signal.addEventListener("abort", () => this.#queue.shutDown(), { once: true });
    const unsubscribe = sources.map((source) => source.subscribe((name) => this.enqueue(name)));
    try {
      await Promise.all(sources.map((source) => source.waitForSync(stop.signal)));
      await Promise.all(Array.from({ length: workers }, () => this.#work(stop.signal)));
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      for (const end of unsubscribe) end();
      this.#queue.shutDown();
    }
  }

  async #work(signal: AbortSignal): Promise<void> {
    for (let key = await this.#queue.get(); key !== undefined; key = await this.#queue.get()) {
      try {
        this.#seal(key, await this.#attempt(nameOf(key), signal));
      } finally {
        this.#queue.done(key);
      }
    }
  }

  async #attempt(name: ObjectName, signal: AbortSignal): Promise<Fate> {
    const { name: controller, reconcile, timeoutMs } = this.#options;
    const started = performance.now();
    using limit = follow(signal);
    const cancelTimer =
      timeoutMs === undefined
        ? undefined
        : after(timeoutMs, () => limit.abort(new Error(`the reconcile took longer than ${timeoutMs} ms`)));
    this.#busy(1);
    try {
      return await reconcile(name, limit.signal);
    } catch (error) {
      if (signal.aborted) return { type: "stopped" };
      return error instanceof TerminalError ? { type: "terminal", error } : { type: "retry", error };
    } finally {
      cancelTimer?.();
      this.#busy(-1);
      const seconds = (performance.now() - started) / 1000;
      this.#metrics.observe("controller_runtime_reconcile_time_seconds", { controller }, seconds);
    }
  }

  /** The one place that decides what follows from a reconcile. */
  #seal(key: string, fate: Fate): void {
    const { name: controller } = this.#options;
    const fields = { controller, ...nameOf(key) };
    if (fate.type !== "stopped") this.#count(fate.type);
    this.#log.debug({ ...fields, fate: fate.type }, "reconciled");
    switch (fate.type) {
      case "done":
        this.#queue.forget(key);
        return;
      case "again":
        this.#queue.forget(key);
        this.#queue.addAfter(key, fate.afterMs);
        return;
      case "retry": {
        const retryMs = this.#queue.addRateLimited(key, retryAfterMs(fate.error));
        // Two writers meeting is everyday life, and the next attempt reads anew.
        if (isStale(fate.error))
          this.#log.info(
            { ...fields, err: fate.error, retryMs },
            "reconcile met another writer; trying again",
          );
        else this.#log.error({ ...fields, err: fate.error, retryMs }, "reconcile failed; trying again");
        this.#tellError(key, fate.error);
        return;
      }
      case "terminal":
        this.#queue.forget(key);
        this.#log.error({ ...fields, err: fate.error }, "reconcile failed for good; waiting for a change");
        this.#tellError(key, fate.error);
        return;
      case "stopped":
        return;
    }
  }

  #count(fate: keyof typeof RESULTS): void {
    const { name: controller } = this.#options;
    const result = RESULTS[fate];
    this.#metrics.increment("controller_runtime_reconcile_total", { controller, result });
    if (result === "error") {
      this.#metrics.increment("controller_runtime_reconcile_errors_total", { controller });
    }
    if (fate === "terminal") {
      this.#metrics.increment("controller_runtime_terminal_reconcile_errors_total", { controller });
    }
  }

  #tellError(key: string, error: unknown): void {
    try {
      this.#options.onError?.(nameOf(key), error);
    } catch (err) {
      this.#log.error({ controller: this.#options.name, ...nameOf(key), err }, "onError itself threw");
    }
  }

  #busy(by: 1 | -1): void {
    this.#active += by;
    this.#metrics.set("controller_runtime_active_workers", { controller: this.#options.name }, this.#active);
  }
}

function retryAfterMs(error: unknown): number {
  return error instanceof ApiError ? (error.retryAfterSeconds ?? 0) * 1000 : 0;
}
