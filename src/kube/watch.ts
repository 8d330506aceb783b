import { type Client, collectionPath } from "./client.ts";
import { lines } from "./lines.ts";
import { type Logger, silent } from "./log.ts";
import { type Metrics, noMetrics } from "./metrics.ts";
import type { KubeObject, Resource } from "./resources.ts";
import { delay, follow } from "./signals.ts";
import {
  firstState,
  step,
  type WatchEvent,
  type WatchInput,
  type WatchLine,
  type WatchState,
} from "./watch-state.ts";

export type { WatchEvent } from "./watch-state.ts";

export interface WatchOptions<T extends KubeObject> {
  client: Client;
  resource: Resource<T>;
  /** Absent: all namespaces. */
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
  /** Objects per page of a list. */
  pageSize?: number;
  /** How long the server is asked to keep one watch open, in milliseconds; each is up to twice as long at random. */
  timeoutMs?: number;
  /**
   * A watch from which nothing has come for so long has stalled and is opened again, in milliseconds. The API server
   * sends bookmarks about once a minute.
   */
  idleMs?: number;
  /** Called whenever something has come of asking the server, be it a failure. */
  onStep?: () => void;
  log?: Logger;
  metrics?: Metrics;
}

/**
 * Follows all objects of a kind, for as long as the signal lets it: first the whole picture, then what changes.
 *
 * Guarantees: a consumer that applies the events in order has what the server has, sooner or later, whatever happens
 * to connections and servers in between. It never ends by itself and never throws but for the signal's reason; what
 * goes wrong is logged, counted, and tried again with growing delays, for ever.
 *
 * Caveats: `delete` may be missing for an object deleted while the watch was away; the next picture lacks it.
 */
export async function* watch<T extends KubeObject>(
  options: WatchOptions<T>,
  signal: AbortSignal,
): AsyncGenerator<WatchEvent<T>, void, undefined> {
  const { resource, log = silent, metrics = noMetrics } = options;
  const labels = { resource: resource.plural };
  let state: WatchState = firstState;
  while (true) {
    signal.throwIfAborted();
    let waitMs = 0;
    for await (const input of ask(state, options, signal)) {
      options.onStep?.();
      const next = step(state, input);
      state = next.state;
      yield* next.events;
      if (next.error !== undefined) {
        signal.throwIfAborted();
        metrics.increment("reflector_failures_total", labels);
        log.warn(
          { ...labels, err: next.error, retryMs: next.waitMs, next: state.phase },
          "watch failed; trying again",
        );
      }
      waitMs = next.waitMs ?? 0;
      if (next.reconnect) break;
    }
    if (waitMs > 0) await delay(waitMs, signal);
  }
}

/** Asks the server what the state calls for. The last input is a page, an end or a failure. */
async function* ask<T extends KubeObject>(
  state: WatchState,
  options: WatchOptions<T>,
  signal: AbortSignal,
): AsyncGenerator<WatchInput<T>, void, undefined> {
  try {
    if (state.phase === "list") yield await askPage(state, options, signal);
    else yield* askChanges(state, options, signal);
  } catch (error) {
    yield { type: "failed", error };
  }
}

async function askPage<T extends KubeObject>(
  state: WatchState & { phase: "list" },
  {
    client,
    resource,
    namespace,
    labelSelector,
    fieldSelector,
    pageSize = 500,
    metrics = noMetrics,
  }: WatchOptions<T>,
  signal: AbortSignal,
): Promise<WatchInput<T>> {
  if (state.continue === undefined) metrics.increment("reflector_lists_total", { resource: resource.plural });
  const page = await client.list(resource, {
    namespace,
    labelSelector,
    fieldSelector,
    limit: state.paged ? pageSize : undefined,
    continue: state.continue,
    signal,
  });
  return { type: "page", page };
}

async function* askChanges<T extends KubeObject>(
  state: WatchState & { phase: "watch" },
  options: WatchOptions<T>,
  signal: AbortSignal,
): AsyncGenerator<WatchInput<T>, void, undefined> {
  const { client, resource, namespace, labelSelector, fieldSelector } = options;
  const { timeoutMs = 300_000, idleMs = 150_000, metrics = noMetrics } = options;
  using connection = follow(signal);
  const stall = setTimeout(() => connection.abort(new Error(`nothing came for ${idleMs} ms`)), idleMs);
  try {
    metrics.increment("reflector_watches_total", { resource: resource.plural });
    using stream = await client.stream(collectionPath(resource, namespace), {
      query: {
        watch: true,
        allowWatchBookmarks: true,
        resourceVersion: state.resourceVersion,
        timeoutSeconds: Math.ceil((timeoutMs / 1000) * (1 + Math.random())),
        labelSelector,
        fieldSelector,
      },
      signal: connection.signal,
      timeoutMs: Math.min(30_000, idleMs),
    });
    const opened = performance.now();
    let quiet = true;
    for await (const line of lines(whileAwake(stream.chunks, stall))) {
      quiet = false;
      yield { type: "line", line: JSON.parse(line) as WatchLine<T> };
    }
    yield { type: "ended", premature: quiet && performance.now() - opened < 1000 };
  } catch (error) {
    // An abort reaches the reader as a mere reset; its reason says more.
    throw connection.signal.aborted ? connection.signal.reason : error;
  } finally {
    clearTimeout(stall);
  }
}

/** Puts the alarm off with every chunk. */
async function* whileAwake(chunks: AsyncIterable<Buffer>, alarm: NodeJS.Timeout): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) {
    alarm.refresh();
    yield chunk;
  }
}
