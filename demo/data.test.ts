import { expect, it } from "vitest";
import { contentOf, sampleOf } from "./data.ts";

it("a sample has the first key, the last, and no key twice", () => {
  const sample = sampleOf(100_000, 1_000);
  expect([sample.length, sample[0], sample.at(-1), new Set(sample).size]).toEqual([1_000, 0, 99_999, 1_000]);
});

it("a sample of few keys is all of them", () => {
  expect(sampleOf(3, 1_000)).toEqual([0, 1, 2]);
});

it("the values of two runs differ", () => {
  expect(contentOf({ keys: 1, run: "a" }, 0)).not.toBe(contentOf({ keys: 1, run: "b" }, 0));
});
