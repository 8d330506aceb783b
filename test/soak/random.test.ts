import { describe, expect, it } from "vitest";
import { Random } from "./random.ts";

const numbers = (random: Random) => Array.from({ length: 1000 }, () => random.next());

describe("chance", () => {
  it("is the same again for the same seed, and another for another", () => {
    expect(numbers(new Random(7))).toEqual(numbers(new Random(7)));
    expect(numbers(new Random(7))).not.toEqual(numbers(new Random(8)));
    expect(numbers(new Random(7).split())).not.toEqual(numbers(new Random(7)));
  });

  it("is spread evenly between 0 and 1", () => {
    const drawn = numbers(new Random(1));
    expect(drawn.every((number) => number >= 0 && number < 1)).toBe(true);
    for (const tenth of Array(10).keys()) {
      const there = drawn.filter((number) => Math.floor(number * 10) === tenth).length;
      expect(there).toBeGreaterThan(60);
      expect(there).toBeLessThan(140);
    }
  });

  it("leaves nothing out when it shuffles", () => {
    const list = Array.from({ length: 50 }, (_, i) => i);
    const shuffled = new Random(3).shuffled(list);
    expect(shuffled).not.toEqual(list);
    expect(shuffled.toSorted((a, b) => a - b)).toEqual(list);
  });
});
