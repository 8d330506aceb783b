import { expect, test } from "vitest";
import { atLeast, atMost, median, type Report, seconds, table, thisMachine } from "./report.ts";

test("the median is the middle, or between the two middles", () => {
  expect([median([3, 1, 2]), median([4, 1, 3, 2]), median([7])]).toEqual([2, 2.5, 7]);
});

test("a target on the line holds, past it it does not, and the table says which was missed", () => {
  expect(atMost("a", 1.5, 1.5).holds).toBe(true);
  expect(atMost("a", 1.50001, 1.5).holds).toBe(false);
  expect(atLeast("b", 4, 4).holds).toBe(true);
  expect(atLeast("b", 3.99, 4).holds).toBe(false);
  const report: Report = {
    bench: "x",
    machine: thisMachine(),
    runs: 1,
    figures: { push: seconds(1234.5678) },
    ratios: [atMost("too slow", 2, 1.5)],
  };
  expect(table(report)).toMatch(/^\| push +\| 1\.235 s \|$/m);
  expect(table(report)).toMatch(/^\| too slow \| 2 +\| 1\.5 +\| MISSED \|$/m);
});
