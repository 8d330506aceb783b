import { expect, test } from "vitest";
import { fuzzInspect } from "../fuzz/inspect.ts";

test("a thousand strange archives: each is read or refused with a code, and nothing is written", {
  timeout: 120_000,
}, async () => {
  const { wrong, answers, errors } = await fuzzInspect({ count: 1000, seed: 1, monsters: false });
  expect(wrong).toEqual([]);
  // All the ways were gone.
  expect(answers).toBeGreaterThan(200);
  expect(errors["ArchiveInvalid"]).toBeGreaterThan(200);
  expect(errors["ArchiveUnsupported"]).toBeGreaterThan(5);
});
