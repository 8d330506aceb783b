import { expect, test } from "vitest";
import { Pace, Rate } from "./rate.ts";

test("no more than so many a minute, and after the last at once it is told how long all take to come back", () => {
  let at = 0;
  const rate = new Rate(120, () => new Date(at));
  const take = (): number => {
    let taken = 0;
    while (rate.tryTake()) taken += 1;
    return taken;
  };
  expect(take()).toBe(20);
  expect(rate.fullMs).toBe(10_000);
  let taken = 0;
  for (; at < 60_000; at += 1_000) taken += take();
  expect(taken).toBeLessThanOrEqual(120);
  expect(taken).toBeGreaterThan(110);
});

test("what takes long is not begun again at once, however often it changes", () => {
  let at = 0;
  const pace = new Pace(2_000, () => at);
  expect(pace.waitMs("small")).toBe(0);
  const since = at;
  at += 5_000;
  pace.rest("large", since);
  pace.rest("small", at - 10);
  pace.rest("limited", at - 10, 10_000);
  expect(["small", "large", "limited", "other"].map((key) => pace.waitMs(key))).toEqual([
    2_000, 20_000, 10_000, 0,
  ]);
  at += 2_000;
  expect(pace.waitMs("small")).toBe(0);
  pace.forget("large");
  expect(pace.waitMs("large")).toBe(0);
});
