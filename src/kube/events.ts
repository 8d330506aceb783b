import { createHash } from "node:crypto";
import type { Client } from "./client.ts";
import { isAlreadyExists, isForbidden, isInvalid, isNotFound } from "./errors.ts";
import type { Logger } from "./log.ts";
import { type Metrics, noMetrics } from "./metrics.ts";
import { type ObjectReference, objectRef } from "./owner.ts";
import { Queue } from "./queue.ts";
import { events, type KubeObject } from "./resources.ts";
import { microTime } from "./time.ts";

/** Something a person who looks at an object should know. */
export interface EventRecord {
  /** The object, as it was read, or a reference to it. */
  regarding: KubeObject | ObjectReference;
  /** A second object that matters. */
  related?: ObjectReference;
  type: "Normal" | "Warning";
  /** Why, as one CamelCase word, at most 128 characters. */
  reason: string;
  /** What was done or tried, as one CamelCase word, at most 128 characters. */
  action: string;
  /** For people; cut at 1024 bytes. */
  note: string;
}

export interface EventRecorderOptions {
  client: Client;
  /** The controller's name, such as `example.com/operator`. */
  controller: string;
  /** Which of its processes. */
  instance: string;
  log: Logger;
  metrics?: Metrics;
  /** How long repetitions of an event are gathered before they are written as its series, in milliseconds. */
  gatherMs?: number;
  /** How many events about one object may be written at once, and one more each `refillMs` milliseconds. */
  burst?: number;
  refillMs?: number;
}

interface Pending {
  record: EventRecord;
  regarding: ObjectReference;
  name: string;
  namespace: string;
  count: number;
  lastSeen: Date;
}

/** No more different events than this wait to be written. */
const capacity = 1000;
const maxAttempts = 8;
/** Limits of the API; source: apimachinery's validation of events.k8s.io/v1. */
const maxNoteBytes = 1024;
const maxNameLength = 253;

/**
 * Writes Events (events.k8s.io/v1) in the background.
 *
 * Guarantees: {@link record} returns at once and never throws; the same event again is counted in the series of the
 * first, across restarts too, for its name is made of what it says; no object gets more than its share. An Event that
 * could not be written is counted and logged.
 *
 * Needs the verbs create, get and patch on events in group events.k8s.io.
 */
export class EventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #metrics: Metrics;
  readonly #gatherMs: number;
  readonly #queue: Queue;
  readonly #pending = new Map<string, Pending>();
  /** When each event was last written, while that is within `gatherMs`. */
  readonly #written = new Map<string, number>();
  readonly #budgets: Budgets;
  readonly #worker: Promise<void>;
  #idle = Promise.withResolvers<void>();

  constructor(options: EventRecorderOptions) {
    this.#options = options;
    this.#metrics = options.metrics ?? noMetrics;
    this.#gatherMs = options.gatherMs ?? 10_000;
    this.#budgets = new Budgets(options.burst ?? 25, options.refillMs ?? 60_000);
    this.#queue = new Queue({ name: "events", backoff: { baseMs: 500, maxMs: 60_000, jitter: 0.5 } });
    this.#idle.resolve();
    this.#worker = this.#work();
  }

  record(record: EventRecord): void {
    try {
      this.#enqueue(record);
    } catch (error) {
      this.#lose("failed", record, error);
    }
  }

  /** Resolves when all that was recorded so far is written or lost; does not wait for series to be gathered. */
  async flush(): Promise<void> {
    for (const key of this.#pending.keys()) this.#queue.add(key);
    await this.#idle.promise;
  }

  /** Writes what is left, for at most so many milliseconds, and ends. */
  async close(timeoutMs = 2_000): Promise<void> {
    const timer = setTimeout(() => this.#queue.shutDown(), timeoutMs);
    await Promise.race([this.flush(), this.#worker]);
    clearTimeout(timer);
    this.#queue.shutDown();
    await this.#worker;
    for (const { record } of this.#pending.values())
      this.#lose("failed", record, new Error("there was no time left"));
    this.#pending.clear();
  }

  #enqueue(record: EventRecord): void {
    const regarding = "metadata" in record.regarding ? objectRef(record.regarding) : record.regarding;
    const cut = { ...record, note: cutBytes(record.note, maxNoteBytes) };
    const name = eventName(cut, regarding, this.#options.controller);
    const namespace = regarding.namespace ?? "default";
    const key = `${namespace}/${name}`;
    const waiting = this.#pending.get(key);
    if (waiting) {
      waiting.count++;
      waiting.lastSeen = new Date();
      return;
    }
    if (!this.#budgets.take(regarding.uid ?? `${regarding.kind}/${regarding.namespace}/${regarding.name}`)) {
      this.#lose("limited", record);
      return;
    }
    if (this.#pending.size >= capacity) {
      this.#lose("full", record);
      return;
    }
    if (this.#pending.size === 0) this.#idle = Promise.withResolvers();
    this.#pending.set(key, { record: cut, regarding, name, namespace, count: 1, lastSeen: new Date() });
    const sinceLast = performance.now() - (this.#written.get(key) ?? -Infinity);
    this.#queue.addAfter(key, this.#gatherMs - sinceLast);
  }

  async #work(): Promise<void> {
    for (let key = await this.#queue.get(); key !== undefined; key = await this.#queue.get()) {
      try {
        await this.#handle(key);
      } finally {
        this.#queue.done(key);
      }
    }
  }

  async #handle(key: string): Promise<void> {
    const pending = this.#pending.get(key);
    if (!pending) return;
    const { count } = pending;
    try {
      await this.#write(pending);
      this.#metrics.increment("events_written_total", {});
    } catch (error) {
      const hopeless = isInvalid(error) || isForbidden(error) || isNotFound(error);
      if (!hopeless && this.#queue.failures(key) + 1 < maxAttempts) {
        this.#queue.addRateLimited(key);
        return;
      }
      this.#lose("failed", pending.record, error);
    }
    this.#queue.forget(key);
    this.#rememberWritten(key);
    // What was recorded while this was written is the series' next part.
    pending.count -= count;
    if (pending.count > 0) {
      this.#queue.addAfter(key, this.#gatherMs);
      return;
    }
    this.#pending.delete(key);
    if (this.#pending.size === 0) this.#idle.resolve();
  }

  async #write({ record, regarding, name, namespace, count, lastSeen }: Pending): Promise<void> {
    const { client, controller, instance } = this.#options;
    const { type, reason, action, note, related } = record;
    const metadata = { name, namespace };
    const lastObservedTime = microTime(lastSeen);
    try {
      await client.create(events, {
        metadata,
        eventTime: microTime(lastSeen),
        type,
        reason,
        action,
        note,
        regarding,
        related,
        reportingController: controller,
        reportingInstance: instance,
        ...(count > 1 ? { series: { count, lastObservedTime } } : {}),
      });
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      const there = await client.get(events, metadata);
      const series = { count: (there.series?.count ?? 1) + count, lastObservedTime };
      const { resourceVersion } = there.metadata;
      await client.patch(events, metadata, {
        type: "merge",
        body: { metadata: { resourceVersion }, series },
      });
    }
  }

  #rememberWritten(key: string): void {
    const now = performance.now();
    this.#written.delete(key);
    this.#written.set(key, now);
    for (const [old, at] of this.#written) {
      if (now - at < this.#gatherMs) break;
      this.#written.delete(old);
    }
  }

  #lose(why: "limited" | "full" | "failed", record: EventRecord, error?: unknown): void {
    this.#metrics.increment("events_lost_total", { reason: why });
    const { reason, note } = record;
    this.#options.log.warn({ why, reason, note, err: error }, "a Kubernetes Event was not written");
  }
}

/** A share of events for each object: so many at once, and one more each `refillMs`. */
class Budgets {
  readonly #burst: number;
  readonly #refillMs: number;
  /** When each object's budget will be full again; oldest touched first. */
  readonly #fullAt = new Map<string, number>();

  constructor(burst: number, refillMs: number) {
    this.#burst = burst;
    this.#refillMs = refillMs;
  }

  take(key: string): boolean {
    const now = performance.now();
    for (const [old, fullAt] of this.#fullAt) {
      if (fullAt > now) break;
      this.#fullAt.delete(old);
    }
    const fullAt = Math.max(this.#fullAt.get(key) ?? now, now) + this.#refillMs;
    if (fullAt - now > this.#burst * this.#refillMs) return false;
    this.#fullAt.delete(key);
    this.#fullAt.set(key, fullAt);
    return true;
  }
}

/** The same for the same event, and a name the server takes whatever the object's is. */
function eventName(record: EventRecord, regarding: ObjectReference, controller: string): string {
  const { kind, namespace, name, uid } = regarding;
  const { type, reason, action, note } = record;
  const what = JSON.stringify([kind, namespace, name, uid, controller, type, reason, action, note]);
  const hash = createHash("sha256").update(what).digest("hex").slice(0, 16);
  const readable = name.toLowerCase().replace(/[^a-z0-9.-]/g, "-");
  return `${readable.slice(0, maxNameLength - hash.length - 1).replace(/[^a-z0-9]+$/, "")}.${hash}`;
}

/** The longest beginning of a text that fits, cut between characters. */
export function cutBytes(text: string, maxBytes: number): string {
  const bytes = Buffer.from(text, "utf8");
  if (bytes.length <= maxBytes) return text;
  const ellipsis = "…";
  let end = maxBytes - Buffer.byteLength(ellipsis);
  while ((bytes[end]! & 0xc0) === 0x80) end--;
  return bytes.toString("utf8", 0, end) + ellipsis;
}
