import { expect, it } from "vitest";
import { parseQuantity } from "./quantity.ts";

it.each([
  ["0", 0],
  ["250m", 0.25],
  ["1.5", 1.5],
  [".5", 0.5],
  ["2.", 2],
  ["+3", 3],
  ["-1", -1],
  ["1k", 1000],
  ["1Ki", 1024],
  ["1.5Gi", 1.5 * 2 ** 30],
  ["128974848", 128974848],
  ["129e6", 129e6],
  ["129M", 129e6],
  ["1E3", 1000],
  ["1E", 1e18],
  ["2Ei", 2 ** 61],
  ["100n", 1e-7],
])("%s is %d", (text, value) => expect(parseQuantity(text)).toBeCloseTo(value, 12));

it.each(["", "m", "1 Gi", "1gi", "1KI", "0x10", "1e", "1e3Ki", "--1", "NaN", "1mm"])(
  "%j is refused",
  (text) => expect(() => parseQuantity(text)).toThrow(TypeError),
);
