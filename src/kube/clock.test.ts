import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { clockChanges } from "./clock.ts";

let ahead = 0;
let named: string[] = [];
let stop: () => void;
beforeEach(() => {
  vi.useFakeTimers();
  [ahead, named] = [0, []];
  const source = clockChanges(
    () => new Date(Date.now() + ahead),
    () => [{ name: "a" }, { name: "b" }],
  );
  stop = source.subscribe(({ name }) => named.push(name));
});
afterEach(() => {
  stop();
  vi.useRealTimers();
});

test.each([3_600_000, -3_600_000])("a clock that is set by %i ms has all looked at, once", (ms) => {
  vi.advanceTimersByTime(60_000);
  expect(named).toEqual([]);
  ahead = ms;
  vi.advanceTimersByTime(60_000);
  expect(named).toEqual(["a", "b"]);
});

test("a clock that comes apart slowly is noticed all the same, and one that trembles is not", () => {
  for (let look = 0; look < 20; look++) {
    ahead = look % 2 === 0 ? 400 : -400;
    vi.advanceTimersByTime(5_000);
  }
  expect(named).toEqual([]);
  for (let look = 0; look < 20; look++) {
    ahead += 100;
    vi.advanceTimersByTime(5_000);
  }
  expect(named).toEqual(["a", "b"]);
});

test("nobody looks any more once it is stopped", () => {
  stop();
  expect(vi.getTimerCount()).toBe(0);
});
