import { expect, test } from "vitest";
import { parseDuration } from "./duration.ts";

test.each([
  ["720h", 720 * 3600_000],
  ["1h30m", 5_400_000],
  ["1.5h", 5_400_000],
  ["0s", 0],
  ["250ms", 250],
  ["1m1s1ms", 61_001],
])("%s is so many milliseconds", (text, ms) => {
  expect(parseDuration(text)).toBe(ms);
});

test.each(["", "10", "7d", "-1h", "1h ", "h", "1,5h"])("%j is no duration", (text) => {
  expect(() => parseDuration(text)).toThrow(TypeError);
});
