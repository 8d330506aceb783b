import { type Backoff, backoffDelay } from "./backoff.ts";
import { type Metrics, noMetrics } from "./metrics.ts";
import { after } from "./signals.ts";

export interface QueueOptions {
  /** Names the queue in metrics. */
  name?: string;
  /** Delays of {@link Queue.addRateLimited}; as client-go's, 5 ms doubling up to 1000 s. */
  backoff?: Backoff;
  metrics?: Metrics;
}

/**
 * A queue of keys to be processed, each a reminder to look at an object.
 *
 * Guarantees: a key is in no two workers' hands at once; a key added while it is being processed comes again after
 * {@link done}; one added many times while it waits comes once; keys that are ready come in the order in which they
 * became so. After {@link shutDown} nothing is handed out any more.
 *
 * Assumptions: whoever gets a key calls {@link done} with it, whatever happens.
 */
export class Queue {
  readonly #labels: { name: string; controller: string };
  readonly #backoff: Backoff;
  readonly #metrics: Metrics;
  /** Ready and free, in order, each with the time since which it has been. */
  readonly #ready = new Map<string, number>();
  /** In a worker's hands, since when. */
  readonly #held = new Map<string, number>();
  /** Held, and added again meanwhile. */
  readonly #again = new Set<string>();
  readonly #delayed = new Map<string, { due: number; cancel: () => void }>();
  readonly #failures = new Map<string, number>();
  readonly #waiting: Array<(key: string | undefined) => void> = [];
  #shutDown = false;

  constructor(options: QueueOptions = {}) {
    const { name = "" } = options;
    this.#labels = { name, controller: name };
    this.#backoff = options.backoff ?? { baseMs: 5, maxMs: 1_000_000, jitter: 0 };
    this.#metrics = options.metrics ?? noMetrics;
    this.#metrics.read("workqueue_unfinished_work_seconds", this.#labels, () =>
      this.#heldSeconds().reduce((sum, seconds) => sum + seconds, 0),
    );
    this.#metrics.read("workqueue_longest_running_processor_seconds", this.#labels, () =>
      Math.max(0, ...this.#heldSeconds()),
    );
  }

  /** How many keys are ready and wait for a worker. */
  get length(): number {
    return this.#ready.size;
  }

  /** How many keys wait for their time. */
  get delayed(): number {
    return this.#delayed.size;
  }

  /** Makes a key ready now. */
  add(key: string): void {
    if (this.#shutDown) return;
    if (this.#held.has(key)) {
      this.#again.add(key);
    } else if (!this.#ready.has(key)) {
      this.#metrics.increment("workqueue_adds_total", this.#labels);
      this.#ready.set(key, performance.now());
      this.#handOut();
    }
  }

  /** Makes a key ready in `ms` milliseconds, however many; of several such wishes for one key the earliest counts. */
  addAfter(key: string, ms: number): void {
    if (this.#shutDown) return;
    if (!(ms > 0)) {
      this.add(key);
      return;
    }
    const due = performance.now() + ms;
    const earlier = this.#delayed.get(key);
    if (earlier && earlier.due <= due) return;
    earlier?.cancel();
    const cancel = after(ms, () => {
      this.#delayed.delete(key);
      this.add(key);
    });
    this.#delayed.set(key, { due, cancel });
  }

  /**
   * Makes a key ready after a delay that grows each time until {@link forget}, and is no shorter than `atLeastMs`.
   * Returns the delay in milliseconds.
   */
  addRateLimited(key: string, atLeastMs = 0): number {
    const failures = (this.#failures.get(key) ?? 0) + 1;
    this.#failures.set(key, failures);
    const ms = Math.max(atLeastMs, backoffDelay(this.#backoff, failures));
    this.#metrics.increment("workqueue_retries_total", this.#labels);
    this.addAfter(key, ms);
    return ms;
  }

  /** Lets a key's delays begin anew. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** How often a key was added with growing delay since it was last forgotten. */
  failures(key: string): number {
    return this.#failures.get(key) ?? 0;
  }

  /** The next key, as soon as there is one; undefined once the queue is shut down. */
  get(): Promise<string | undefined> {
    if (this.#shutDown) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#handOut();
    });
  }

  /** Gives a key back that {@link get} handed out. */
  done(key: string): void {
    const since = this.#held.get(key);
    if (since === undefined) throw new Error(`${key} is not being processed`);
    this.#metrics.observe(
      "workqueue_work_duration_seconds",
      this.#labels,
      (performance.now() - since) / 1000,
    );
    this.#held.delete(key);
    if (this.#again.delete(key)) this.add(key);
  }

  /** Drops all keys and wakes all who wait; keys in hand may still be given back. */
  shutDown(): void {
    this.#shutDown = true;
    for (const { cancel } of this.#delayed.values()) cancel();
    this.#delayed.clear();
    this.#ready.clear();
    this.#again.clear();
    for (const resolve of this.#waiting.splice(0)) resolve(undefined);
  }

  /** For how long each key in hand has been there. */
  #heldSeconds(): number[] {
    const now = performance.now();
    return [...this.#held.values()].map((since) => (now - since) / 1000);
  }

  #handOut(): void {
    for (const [key, since] of this.#ready) {
      const resolve = this.#waiting.shift();
      if (!resolve) break;
      const now = performance.now();
      this.#metrics.observe("workqueue_queue_duration_seconds", this.#labels, (now - since) / 1000);
      this.#ready.delete(key);
      this.#held.set(key, now);
      resolve(key);
    }
    this.#metrics.set("workqueue_depth", this.#labels, this.#ready.size);
  }
}
