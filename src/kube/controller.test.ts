import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { waitFor } from "../../test/support/wait-for.ts";
import {
  again,
  Controller,
  type ControllerOptions,
  done,
  type Outcome,
  type Source,
  TerminalError,
} from "./controller.ts";
import { ApiError } from "./errors.ts";
import { silent } from "./log.ts";
import { type Metrics, noMetrics } from "./metrics.ts";
import type { ObjectName } from "./resources.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

/** Runs a controller over one source that the test feeds. */
function run(reconcile: ControllerOptions["reconcile"], more: Partial<ControllerOptions> = {}) {
  let change: (name: ObjectName) => void = () => {};
  const synced = Promise.withResolvers<void>();
  const source: Source = {
    subscribe: (enqueue) => {
      change = enqueue;
      return () => {};
    },
    waitForSync: () => synced.promise,
  };
  const fates: string[] = [];
  const metrics: Metrics = {
    ...noMetrics,
    increment: (name, labels, by = 1) => {
      if (by === 0) return;
      if (name === "controller_runtime_reconcile_total") fates.push(labels["result"]!);
      if (name === "controller_runtime_terminal_reconcile_errors_total") fates.push("terminal");
    },
  };
  const stop = new AbortController();
  const controller = new Controller({
    name: "test",
    reconcile,
    sources: [source],
    log: silent,
    metrics,
    ...more,
  });
  const ended = controller.run(stop.signal);
  return { controller, change: (name: ObjectName) => change(name), synced, fates, stop, ended };
}

const a = { namespace: "ns", name: "a" };

test("nothing is reconciled before the sources have their first picture", async () => {
  const seen: ObjectName[] = [];
  const { change, synced } = run(async (name) => {
    seen.push(name);
    return done;
  });
  change(a);
  await pass(1_000);
  expect(seen).toEqual([]);
  synced.resolve();
  await pass(0);
  expect(seen).toEqual([a]);
});

test("each outcome has its own fate", async () => {
  const outcomes: Array<() => Outcome> = [
    () => {
      throw new Error("once");
    },
    () => again(60_000),
    () => {
      throw new TerminalError("for good");
    },
    () => done,
  ];
  const errors: unknown[] = [];
  const { change, synced, fates } = run(async () => outcomes.shift()!(), {
    onError: (_, error) => errors.push(error),
  });
  synced.resolve();
  change(a);
  await pass(5);
  expect(fates).toEqual(["error", "requeue_after"]);
  await pass(59_999);
  expect(fates).toHaveLength(2);
  await pass(1);
  expect(fates).toEqual(["error", "requeue_after", "error", "terminal"]);
  await pass(3_600_000);
  expect(fates).toHaveLength(4);
  change(a);
  await pass(0);
  expect(fates).toEqual(["error", "requeue_after", "error", "terminal", "success"]);
  expect(errors).toEqual([new Error("once"), new TerminalError("for good")]);
});

test("a server that asks to be left alone is left alone for so long", async () => {
  let calls = 0;
  const { change, synced } = run(async () => {
    if (calls++ === 0) throw new ApiError("PUT", { status: 429, retryAfterSeconds: 30 });
    return done;
  });
  synced.resolve();
  change(a);
  await pass(29_999);
  expect(calls).toBe(1);
  await pass(1);
  expect(calls).toBe(2);
});

test("a change during a reconcile leads to another one after it, never beside it", async () => {
  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let begun = 0;
  let active = 0;
  const { change, synced } = run(
    async () => {
      expect(++active).toBe(1);
      await gates[begun++]!.promise;
      active--;
      return done;
    },
    { workers: 4 },
  );
  synced.resolve();
  change(a);
  await pass(0);
  change(a);
  change(a);
  await pass(1_000);
  expect(begun).toBe(1);
  gates[0]!.resolve();
  await pass(0);
  expect(begun).toBe(2);
  gates[1]!.resolve();
  await pass(1_000);
  expect(begun).toBe(2);
});

test("a reconcile that takes too long is told so, and tried again", async () => {
  let calls = 0;
  const hang = (signal: AbortSignal) =>
    new Promise<never>((_, reject) =>
      signal.addEventListener("abort", () => reject(signal.reason), { once: true }),
    );
  const { change, synced, fates } = run(async (_, signal) => (calls++ === 0 ? hang(signal) : done), {
    timeoutMs: 1_000,
  });
  synced.resolve();
  change(a);
  await pass(1_005);
  expect(fates).toEqual(["error", "success"]);
});

test("a stopped controller ends when the last reconcile has ended, and not before", async () => {
  const gate = Promise.withResolvers<void>();
  let told = false;
  const { change, synced, stop, ended, fates } = run(async (_, signal) => {
    signal.addEventListener("abort", () => {
      told = true;
    });
    await gate.promise;
    throw new Error("cut short");
  });
  synced.resolve();
  change(a);
  await pass(0);
  let over = false;
  void ended.then(() => {
    over = true;
  });
  stop.abort();
  await pass(1_000);
  expect([told, over]).toEqual([true, false]);
  gate.resolve();
  await pass(0);
  expect(over).toBe(true);
  expect(fates).toEqual([]);
  expect(vi.getTimerCount()).toBe(0);
});

test("stopped before its sources are ready, it ends", async () => {
  const stop = new AbortController();
  const source: Source = {
    subscribe: () => () => {},
    waitForSync: (signal) =>
      new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
  };
  const controller = new Controller({
    name: "test",
    reconcile: async () => done,
    sources: [source],
    log: silent,
  });
  const ended = controller.run(stop.signal);
  stop.abort();
  await expect(ended).resolves.toBeUndefined();
});

test("thousands of keys with nothing to do leave timers and connections their turn", async () => {
  vi.useRealTimers();
  let looked = 0;
  const { controller, synced, stop, ended } = run(async () => {
    looked += 1;
    return done;
  });
  for (let n = 0; n < 1000; n++) controller.enqueue({ name: `${n}` });
  let before: number | undefined;
  setImmediate(() => {
    before = looked;
  });
  synced.resolve();
  await waitFor("all to be looked at", () => looked === 1000, { intervalMs: 1 });
  expect(before).toBeLessThan(10);
  stop.abort();
  await ended;
});
