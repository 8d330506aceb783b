import { describe, expect, test } from "vitest";
import { ApiError } from "./errors.ts";
import type { KubeObject } from "./resources.ts";
import {
  firstState,
  isNewer,
  step,
  type WatchInput,
  type WatchState,
  type WatchStep,
} from "./watch-state.ts";

const object = (name: string, resourceVersion: string): KubeObject => ({
  metadata: { name, resourceVersion },
});
const one = object("one", "5");
const two = object("two", "6");
const page = (items: KubeObject[], more?: string): WatchInput<KubeObject> => ({
  type: "page",
  page: { items, resourceVersion: "10", continue: more, remainingItemCount: undefined },
});
const line = (
  type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK",
  version: string,
): WatchInput<KubeObject> => ({
  type: "line",
  line: { type, object: object("one", version) } as never,
});
const errorLine = (code: number, retryAfterSeconds?: number): WatchInput<KubeObject> => ({
  type: "line",
  line: { type: "ERROR", object: { kind: "Status", code, message: "no", details: { retryAfterSeconds } } },
});
const failed = (status: number, more: object = {}): WatchInput<KubeObject> => ({
  type: "failed",
  error: new ApiError("GET", { status, ...more }),
});
const watching = (failures = 0, resourceVersion = "10"): WatchState => ({
  phase: "watch",
  resourceVersion,
  failures,
});
const listing = (failures = 0): WatchState => ({ phase: "list", paged: true, failures });
const midList: WatchState = { phase: "list", paged: true, continue: "token", failures: 0 };
const tooLarge = { details: { causes: [{ reason: "ResourceVersionTooLarge" }] } };

/** Random 0: delays at their longest. */
const table: Array<
  [what: string, state: WatchState, input: WatchInput<KubeObject>, expected: Partial<WatchStep<KubeObject>>]
> = [
  [
    "a list in one page is a whole picture",
    firstState,
    page([one, two]),
    {
      state: watching(),
      events: [
        { type: "init" },
        { type: "initApply", object: one },
        { type: "initApply", object: two },
        { type: "initDone" },
      ],
    },
  ],
  [
    "a first page opens a picture",
    firstState,
    page([one], "token"),
    { state: midList, events: [{ type: "init" }, { type: "initApply", object: one }] },
  ],
  [
    "a middle page goes on with it",
    midList,
    page([two], "next"),
    { state: { ...midList, continue: "next" }, events: [{ type: "initApply", object: two }] },
  ],
  [
    "a last page closes it",
    midList,
    page([two]),
    { state: watching(), events: [{ type: "initApply", object: two }, { type: "initDone" }] },
  ],
  ["a list does not end a row of failures", listing(3), page([]), { state: watching(3) }],
  [
    "a failed list is asked for again",
    listing(),
    failed(500),
    { state: listing(1), reconnect: true, waitMs: 800 },
  ],
  [
    "a failed page is asked for again, not the list",
    midList,
    failed(500),
    { state: { ...midList, failures: 1 }, waitMs: 800 },
  ],
  [
    "paging that was too slow begins again, whole",
    midList,
    failed(410),
    { state: { phase: "list", paged: false, failures: 1 }, waitMs: 800 },
  ],
  [
    "an object that is new",
    watching(),
    line("ADDED", "11"),
    { state: watching(0, "11"), events: [{ type: "apply", object: object("one", "11") }] },
  ],
  [
    "an object that changed",
    watching(2),
    line("MODIFIED", "11"),
    { state: watching(0, "11"), events: [{ type: "apply", object: object("one", "11") }] },
  ],
  [
    "an object that went",
    watching(),
    line("DELETED", "11"),
    { state: watching(0, "11"), events: [{ type: "delete", object: object("one", "11") }] },
  ],
  [
    "a bookmark moves on and is no object",
    watching(),
    line("BOOKMARK", "99"),
    { state: watching(0, "99"), events: [] },
  ],
  ["a line sent twice has no effect", watching(), line("ADDED", "10"), { state: watching(), events: [] }],
  [
    "an old line sent again does not bring back what is gone",
    watching(0, "100"),
    line("ADDED", "99"),
    { state: watching(0, "100"), events: [] },
  ],
  [
    "an old bookmark does not lead back",
    watching(0, "100"),
    line("BOOKMARK", "99"),
    { state: watching(0, "100"), events: [] },
  ],
  [
    "a line without a resource version is a failure",
    watching(),
    { type: "line", line: { type: "ADDED", object: { metadata: {} } } as never },
    { state: watching(1), reconnect: true, events: [] },
  ],
  [
    "a line of unknown type is a failure",
    watching(),
    { type: "line", line: { type: "MOVED", object: object("one", "11") } as never },
    { state: watching(1), reconnect: true, events: [] },
  ],
  [
    "a reset watch resumes where it was",
    watching(),
    { type: "failed", error: new Error("ECONNRESET") },
    { state: watching(1), reconnect: true, waitMs: 800 },
  ],
  [
    "delays grow",
    watching(3),
    { type: "failed", error: new Error("ECONNRESET") },
    { state: watching(4), waitMs: 6_400 },
  ],
  [
    "and end at half a minute",
    watching(50),
    { type: "failed", error: new Error("ECONNRESET") },
    { state: watching(51), waitMs: 30_000 },
  ],
  [
    "410 in a line lists again at once",
    watching(),
    errorLine(410),
    { state: listing(1), reconnect: true, waitMs: 0 },
  ],
  [
    "410 instead of a watch lists again at once",
    watching(),
    failed(410),
    { state: listing(1), reconnect: true, waitMs: 0 },
  ],
  [
    "410 again and again does not list without pause",
    watching(1),
    failed(410),
    { state: listing(2), waitMs: 1_600 },
  ],
  [
    "any other error in a line resumes",
    watching(),
    errorLine(500),
    { state: watching(1), reconnect: true, waitMs: 800 },
  ],
  [
    "Retry-After is kept to",
    watching(),
    failed(429, { retryAfterSeconds: 7 }),
    { state: watching(1), waitMs: 7_000 },
  ],
  ["Retry-After in a line is kept to", watching(), errorLine(429, 7), { state: watching(1), waitMs: 7_000 }],
  [
    "a server that went back in time is listed anew",
    watching(),
    failed(504, tooLarge),
    { state: listing(1), waitMs: 800 },
  ],
  [
    "a watch that ended in good order resumes at once",
    watching(2),
    { type: "ended", premature: false },
    { state: watching(), reconnect: true, waitMs: 0 },
  ],
  [
    "a watch that ended at once resumes after a pause",
    watching(),
    { type: "ended", premature: true },
    { state: watching(1), reconnect: true, waitMs: 800 },
  ],
  [
    "a server that asks to be left alone for a day is asked again in a minute",
    watching(),
    failed(429, { retryAfterSeconds: 86_400 }),
    { state: watching(1), reconnect: true, waitMs: 60_000 },
  ],
];

describe("one step", () => {
  test.each(table)("%s", (_, state, input, expected) => {
    expect(step(state, input, () => 0)).toMatchObject(expected);
  });
});

test("resource versions are compared as numbers, of any length, and else only for equality", () => {
  expect(isNewer("10", "9")).toBe(true);
  expect(isNewer("9", "10")).toBe(false);
  expect(isNewer("10", "10")).toBe(false);
  expect(isNewer("18446744073709551617", "18446744073709551616")).toBe(true);
  expect(isNewer("b", "a")).toBe(true);
  expect(isNewer("a", "a")).toBe(false);
});
