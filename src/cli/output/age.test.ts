import { describe, expect, it } from "vitest";
import { age, humanDuration, relative } from "./age.ts";

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

describe("a length of time", () => {
  // Those of apimachinery's own test of HumanDuration.
  it.each([
    [second, "1s"],
    [70 * second, "70s"],
    [190 * second, "3m10s"],
    [70 * minute, "70m"],
    [47 * hour, "47h"],
    [49 * hour, "2d1h"],
    [8 * day + 2 * hour, "8d"],
    [367 * day, "367d"],
    [2 * 365 * day + 25 * hour, "2y1d"],
    [8 * 365 * day + 2 * day, "8y"],
    [-2 * second, "<invalid>"],
    [-1 * second, "0s"],
    [10 * minute, "10m"],
    [8 * minute, "8m"],
    [3 * hour + 5 * minute, "3h5m"],
    [3 * hour, "3h"],
  ])("of %i ms is %s", (ms, shown) => {
    expect(humanDuration(ms)).toBe(shown);
  });

  it("is counted from or to a time", () => {
    const now = Date.parse("2026-01-01T12:00:00Z");
    expect(age("2026-01-01T11:55:00Z", now)).toBe("5m");
    expect(age(undefined, now)).toBeUndefined();
    expect(age("never", now)).toBeUndefined();
    expect(relative("2026-01-01T12:04:10Z", now)).toBe("in 4m10s");
    expect(relative("2026-01-01T11:59:48Z", now)).toBe("12s ago");
  });
});
