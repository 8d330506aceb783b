import { getEventListeners } from "node:events";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { after, delay, follow, orAborted } from "./signals.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const listeners = (signal: AbortSignal) => getEventListeners(signal, "abort").length;

test("nothing stays on a signal that lives long", async () => {
  const parent = new AbortController();
  for (let turn = 0; turn < 100; turn++) {
    using child = follow(parent.signal);
    await orAborted(Promise.resolve(), child.signal);
    await orAborted(Promise.resolve(), parent.signal);
    const waiting = delay(10, parent.signal);
    await vi.advanceTimersByTimeAsync(10);
    await waiting;
  }
  expect(listeners(parent.signal)).toBe(0);
});

test("a child aborts with its parent's reason, also one that is born late", () => {
  const parent = new AbortController();
  using early = follow(parent.signal);
  parent.abort(new Error("over"));
  using late = follow(parent.signal);
  expect(early.signal.reason).toEqual(new Error("over"));
  expect(late.signal.reason).toEqual(new Error("over"));
});

test("a delay longer than a timer takes lasts as long as asked", async () => {
  const ms = 2 ** 31 + 5_000;
  let over = false;
  void delay(ms).then(() => {
    over = true;
  });
  let fired = false;
  after(ms, () => {
    fired = true;
  });
  await vi.advanceTimersByTimeAsync(ms - 1);
  expect([over, fired]).toEqual([false, false]);
  await vi.advanceTimersByTimeAsync(2);
  expect([over, fired]).toEqual([true, true]);
});

test("a delay that is aborted ends with the reason and leaves no timer", async () => {
  const stop = new AbortController();
  const waiting = delay(1_000, stop.signal);
  stop.abort(new Error("over"));
  await expect(waiting).rejects.toThrow("over");
  expect(vi.getTimerCount()).toBe(0);
  expect(listeners(stop.signal)).toBe(0);
});
