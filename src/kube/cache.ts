import type { Client } from "./client.ts";
import { type Logger, silent } from "./log.ts";
import { type Metrics, noMetrics } from "./metrics.ts";
import { keyOf } from "./owner.ts";
import type { KubeObject, Resource } from "./resources.ts";
import { orAborted } from "./signals.ts";
import { type Indexer, Store } from "./store.ts";
import { type Change, type Handler, Subscription } from "./subscription.ts";
import { type WatchEvent, watch } from "./watch.ts";

export type { Change, Handler } from "./subscription.ts";

export interface CacheOptions<T extends KubeObject> {
  client: Client;
  resource: Resource<T>;
  /** Absent: all namespaces. */
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
  /** Ways to find objects again besides their names: pure functions of the object. */
  indexes?: Record<string, Indexer<T>>;
  /** Drops what is not needed, to save memory. `metadata.managedFields` is always dropped. */
  transform?: (object: T) => T;
  /** As of {@link watch}. */
  pageSize?: number;
  timeoutMs?: number;
  idleMs?: number;
  /** As of {@link Cache.alive}: how long there may be neither change nor failure, in milliseconds. */
  deadMs?: number;
  log?: Logger;
  metrics?: Metrics;
}

/**
 * A copy of all objects of a kind, kept up to date by a watch.
 *
 * Guarantees: what is read is a state the server had, object by object, never older than what was read before, while
 * a list is under way too; every subscriber hears of every object it has not seen the newest state of, those of before
 * its subscription included, deletions missed by the watch included, and after an error of its own again.
 *
 * Assumptions: objects are shared by all readers; whoever changes one changes a copy (`structuredClone`).
 *
 * Caveats: it is always a little behind. A decision that must not rest on the past carries the resourceVersion it was
 * made on into its write.
 */
export class Cache<T extends KubeObject> {
  readonly resource: Resource<T>;
  readonly #options: CacheOptions<T>;
  readonly #log: Logger;
  readonly #metrics: Metrics;
  readonly #subscriptions = new Set<Subscription<T>>();
  readonly #indexers: Record<string, Indexer<T>>;
  readonly #firstSync = Promise.withResolvers<void>();
  #store: Store<T>;
  /** The picture that is being received, until it takes the store's place. */
  #arriving: T[] | undefined;
  #synced = false;
  #running = false;
  /** When something came of the watch last. */
  #heard = 0;

  constructor(options: CacheOptions<T>) {
    this.#options = options;
    this.resource = options.resource;
    this.#log = options.log ?? silent;
    this.#metrics = options.metrics ?? noMetrics;
    this.#indexers = Object.fromEntries(
      Object.entries(options.indexes ?? {}).map(([index, indexer]) => [
        index,
        (object: T) => this.#guard(object, indexer, []),
      ]),
    );
    this.#store = new Store(this.#indexers);
  }

  /** Whether the first list has arrived whole. Before that an absent object means nothing. */
  get synced(): boolean {
    return this.#synced;
  }

  /**
   * False when nothing has come of the watch for so long that it cannot be the server's doing: a healthy watch brings
   * bookmarks, a stalled one is given up after `idleMs`, and a failure is followed by another try within a minute. What
   * is left is a fault of this process, which a restart mends.
   */
  get alive(): boolean {
    const { deadMs = 600_000 } = this.#options;
    return !this.#running || performance.now() - this.#heard < deadMs;
  }

  get size(): number {
    return this.#store.size;
  }

  /** Keeps the cache up to date until the signal aborts, and returns then. Errors: run twice, a bug. */
  async run(signal: AbortSignal): Promise<void> {
    if (this.#running) throw new Error(`the cache of ${this.resource.plural} is running already`);
    this.#running = true;
    const onStep = () => {
      this.#heard = performance.now();
    };
    onStep();
    try {
      for await (const event of watch({ ...this.#options, onStep }, signal)) this.#take(event);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.#running = false;
      this.#arriving = undefined;
      for (const subscription of this.#subscriptions) subscription.close();
      this.#subscriptions.clear();
    }
  }

  /** Resolves once {@link synced}. Errors: the signal's reason. */
  async waitForSync(signal?: AbortSignal): Promise<void> {
    await orAborted(this.#firstSync.promise, signal);
  }

  get(namespace: string | undefined, name: string): T | undefined {
    return this.#store.get(keyOf({ namespace, name }));
  }

  /** All objects, or those of one namespace. */
  list(namespace?: string): T[] {
    const all = this.#store.list();
    return namespace === undefined ? all : all.filter((object) => object.metadata.namespace === namespace);
  }

  /** The objects to which an index gives that value. Errors: a TypeError for an index that was not declared. */
  byIndex(index: string, value: string): T[] {
    return this.#store.byIndex(index, value);
  }

  /**
   * Calls the handler, synchronously and in order, with every object there is and every change to come, until the
   * returned function is called. A handler that throws is reported and gets the change again later.
   */
  subscribe(handler: Handler<T>): () => void {
    const subscription = new Subscription<T>(handler, (error, change) => {
      this.#report(change.object, error, "a handler threw; it will get the change again");
    });
    this.#subscriptions.add(subscription);
    for (const object of this.#store.list()) subscription.deliver({ type: "apply", object });
    return () => {
      this.#subscriptions.delete(subscription);
      subscription.close();
    };
  }

  #take(event: WatchEvent<T>): void {
    switch (event.type) {
      case "init":
        this.#arriving = [];
        return;
      case "initApply":
        this.#arriving?.push(this.#slim(event.object));
        return;
      case "initDone":
        this.#swap(this.#arriving ?? []);
        this.#arriving = undefined;
        return;
      case "apply": {
        const object = this.#slim(event.object);
        this.#tellApply(object, this.#store.set(object));
        return;
      }
      case "delete": {
        const previous = this.#store.delete(keyOf(event.object.metadata));
        if (previous) this.#tell({ type: "delete", object: this.#slim(event.object), previous });
        return;
      }
    }
  }

  /** Puts a whole picture in place of the store, then tells how the two differ. */
  #swap(objects: T[]): void {
    const before = this.#store;
    const now = new Store(this.#indexers);
    for (const object of objects) now.set(object);
    this.#store = now;
    this.#synced = true;
    for (const old of before.list()) {
      if (now.get(keyOf(old.metadata)) === undefined)
        this.#tell({ type: "delete", object: old, previous: old });
    }
    for (const object of objects) this.#tellApply(object, before.get(keyOf(object.metadata)));
    this.#firstSync.resolve();
  }

  /** An object of the same name but another uid is not the old one changed: the old one is gone. */
  #tellApply(object: T, previous: T | undefined): void {
    if (previous && previous.metadata.uid !== object.metadata.uid) {
      this.#tell({ type: "delete", object: previous, previous });
      this.#tell({ type: "apply", object });
    } else if (!previous || previous.metadata.resourceVersion !== object.metadata.resourceVersion) {
      this.#tell({ type: "apply", object, previous });
    }
  }

  #tell(change: Change<T>): void {
    for (const subscription of this.#subscriptions) subscription.deliver(change);
  }

  #slim(object: T): T {
    const { managedFields: _, ...metadata } = object.metadata;
    const slim = { ...object, metadata };
    const { transform } = this.#options;
    return transform ? this.#guard(slim, transform, slim) : slim;
  }

  /** One object that a transform or an indexer cannot cope with must not end the cache for all others. */
  #guard<R>(object: T, use: (object: T) => R, otherwise: R): R {
    try {
      return use(object);
    } catch (error) {
      this.#report(object, error, "a transform or an indexer threw; the object goes on without it");
      return otherwise;
    }
  }

  #report(object: T, error: unknown, message: string): void {
    const resource = this.resource.plural;
    const { namespace, name } = object.metadata;
    this.#metrics.increment("reflector_handler_errors_total", { resource });
    this.#log.error({ resource, namespace, name, err: error }, message);
  }
}
