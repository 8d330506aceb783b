import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { DUMP_STEPS } from "./steps.ts";

it("a direct dump has the steps that the program has, and in its order", () => {
  const source = readFileSync(join(import.meta.dirname, "kcr-dump.c"), "utf8");
  const [, names = ""] = /step_names\[\] = \{([^}]*)\}/.exec(source) ?? [];
  expect([...names.matchAll(/"(\w+)"/g)].map(([, name]) => name)).toEqual([...DUMP_STEPS, "ended"]);
});
