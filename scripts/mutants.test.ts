import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { mutants } from "./mutant-list.ts";

const root = join(import.meta.dirname, "..");

test.each(mutants)("mutant: $fault", ({ file, find, replace, test }) => {
  const text = readFileSync(join(root, file), "utf8");
  expect(text.split(find), "its line is there, and once").toHaveLength(2);
  expect(replace).not.toBe(find);
  expect(existsSync(join(root, test.file))).toBe(true);
});

test("no fault is named twice", () => {
  const faults = mutants.map(({ fault }) => fault);
  expect(faults).toEqual([...new Set(faults)]);
});
