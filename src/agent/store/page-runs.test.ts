import { expect, test } from "vitest";
import { PageRuns } from "./page-runs.ts";

test("pages that follow and are of one kind are one run", () => {
  const made = new PageRuns(4096);
  made.add(0x1000n, 1, "present");
  made.add(0x2000n, 2, "present");
  made.add(0x4000n, 1, "parent");
  made.add(0x6000n, 1, "parent");
  expect(made.runs).toEqual([
    { address: 0x1000n, pages: 3, state: "present" },
    { address: 0x4000n, pages: 1, state: "parent" },
    { address: 0x6000n, pages: 1, state: "parent" },
  ]);
});

test("no more is shared when there are many runs", () => {
  const made = new PageRuns(4096, 2);
  made.add(0x1000n, 1, "present");
  expect(made.mayShare).toBe(true);
  made.add(0x2000n, 1, "parent");
  expect(made.mayShare).toBe(false);
});
