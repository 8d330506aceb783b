import { backoffDelay } from "./backoff.ts";
import type { List } from "./client.ts";
import { ApiError, isGone, isTooLargeResourceVersion, type Status } from "./errors.ts";
import type { KubeObject } from "./resources.ts";

/** One line of a watch. */
export type WatchLine<T extends KubeObject> =
  | { type: "ADDED" | "MODIFIED" | "DELETED"; object: T }
  | { type: "BOOKMARK"; object: { metadata: { resourceVersion: string } } }
  | { type: "ERROR"; object: Status };

/**
 * What a watch tells its consumer. `init` opens a new and complete picture, to be put in place of the old one at
 * `initDone`; an `init` in the middle of another begins that picture again. Between pictures come `apply`, for an
 * object that is new or changed, and `delete`, with its last state.
 */
export type WatchEvent<T extends KubeObject> =
  | { type: "init" }
  | { type: "initApply"; object: T }
  | { type: "initDone" }
  | { type: "apply"; object: T }
  | { type: "delete"; object: T };

/** Where a watch stands: what it has to ask the server next. `failures` counts those in a row. */
export type WatchState =
  /** A page of the list: the first, or the one `continue` stands for. Not `paged`: all of it at once. */
  | { phase: "list"; continue?: string; paged: boolean; failures: number }
  /** What changed after this resource version. */
  | { phase: "watch"; resourceVersion: string; failures: number };

/** What came of asking. */
export type WatchInput<T extends KubeObject> =
  | { type: "page"; page: List<T> }
  | { type: "line"; line: WatchLine<T> }
  /** The server ended the watch in good order; `premature` if at once and without a word. */
  | { type: "ended"; premature: boolean }
  | { type: "failed"; error: unknown };

export interface WatchStep<T extends KubeObject> {
  state: WatchState;
  events: WatchEvent<T>[];
  /** What went wrong, for the log. */
  error?: unknown;
  /** Whether the connection in use, if any, is to be given up. */
  reconnect?: true;
  /** How long to wait before asking again, in milliseconds. */
  waitMs?: number;
}

/** Delays between attempts: those of client-go's reflector. */
const backoff = { baseMs: 800, maxMs: 30_000, jitter: 0.5 };

/** However long the server, or something before it, asks to be left alone: a picture must not grow older than that. */
const MOST_ASKED_MS = 60_000;

export const firstState: WatchState = { phase: "list", paged: true, failures: 0 };

/**
 * One step of the watch. Pure, so that a table can test it.
 *
 * Guarantees: after any failure it goes on from the last resource version it has seen, bookmarks included; only when
 * the server has forgotten that version (410), or never knew it, it lists again. A line that repeats the past, sent
 * twice by something in between, has no effect.
 */
export function step<T extends KubeObject>(
  state: WatchState,
  input: WatchInput<T>,
  random: () => number = Math.random,
): WatchStep<T> {
  switch (input.type) {
    case "page":
      return onPage(state, input.page);
    case "line":
      return onLine(state, input.line, random);
    case "ended":
      // A server that accepts watches only to end them at once would otherwise be asked without pause.
      return input.premature
        ? onFailure(state, new Error("the watch ended at once and without a word"), random)
        : { state: { ...state, failures: 0 }, events: [], reconnect: true, waitMs: 0 };
    case "failed":
      return onFailure(state, input.error, random);
  }
}

function onPage<T extends KubeObject>(state: WatchState, page: List<T>): WatchStep<T> {
  if (state.phase !== "list") throw new Error("a page came to a watch that had not asked for one");
  const events: WatchEvent<T>[] = state.continue === undefined ? [{ type: "init" }] : [];
  for (const object of page.items) events.push({ type: "initApply", object });
  if (page.continue !== undefined) return { state: { ...state, continue: page.continue }, events };
  events.push({ type: "initDone" });
  // A list is not yet success: where every watch after it fails, the pauses have to grow all the same.
  return {
    state: { phase: "watch", resourceVersion: page.resourceVersion, failures: state.failures },
    events,
  };
}

function onLine<T extends KubeObject>(
  state: WatchState,
  line: WatchLine<T>,
  random: () => number,
): WatchStep<T> {
  if (state.phase !== "watch") throw new Error("a line came to a watch that is not open");
  if (line.type === "ERROR") return onFailure(state, ApiError.fromStatus("watch", line.object), random);
  const resourceVersion = line.object?.metadata?.resourceVersion;
  if (!resourceVersion) {
    return onFailure(
      state,
      new Error(`a ${String(line.type)} line of a watch has no resource version`),
      random,
    );
  }
  if (!isNewer(resourceVersion, state.resourceVersion))
    return { state: { ...state, failures: 0 }, events: [] };
  const seen: WatchState = { phase: "watch", resourceVersion, failures: 0 };
  switch (line.type) {
    case "ADDED":
    case "MODIFIED":
      return { state: seen, events: [{ type: "apply", object: line.object }] };
    case "DELETED":
      return { state: seen, events: [{ type: "delete", object: line.object }] };
    case "BOOKMARK":
      return { state: seen, events: [] };
    default:
      return onFailure(
        state,
        new Error(`a watch has a line of unknown type ${String((line as WatchLine<T>).type)}`),
        random,
      );
  }
}

function onFailure<T extends KubeObject>(
  state: WatchState,
  error: unknown,
  random: () => number,
): WatchStep<T> {
  const failures = state.failures + 1;
  const seconds = error instanceof ApiError ? (error.retryAfterSeconds ?? 0) : 0;
  const asked = Math.min(seconds * 1000, MOST_ASKED_MS);
  const again = { events: [], error, reconnect: true as const };
  if (isGone(error)) {
    // The first 410 needs no pause: the version had merely grown old. In the middle of paging, the next list is
    // asked for whole, for paging has proved too slow.
    const paged = !(state.phase === "list" && state.continue !== undefined);
    const waitMs =
      state.phase === "watch" && state.failures === 0
        ? asked
        : Math.max(asked, backoffDelay(backoff, failures, random));
    return { state: { phase: "list", paged, failures }, ...again, waitMs };
  }
  const waitMs = Math.max(asked, backoffDelay(backoff, failures, random));
  if (isTooLargeResourceVersion(error))
    return { state: { phase: "list", paged: true, failures }, ...again, waitMs };
  return { state: { ...state, failures }, ...again, waitMs };
}

/**
 * Whether one resource version comes after another of the same resource. They are decimal numbers that grow
 * (https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions); where a server has others, any
 * that differs counts as newer.
 */
export function isNewer(version: string, than: string): boolean {
  if (!/^\d+$/.test(version) || !/^\d+$/.test(than)) return version !== than;
  return version.length === than.length ? version > than : version.length > than.length;
}
