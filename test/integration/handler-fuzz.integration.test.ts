import { expect, test } from "vitest";
import { fuzzCreate } from "../fuzz/create.ts";

test.skipIf(process.getuid?.() !== 0)(
  "a thousand strange calls of create: each ends in the runtime's own create or in a restore",
  { timeout: 300_000 },
  async () => {
    const { wrong, ...ended } = await fuzzCreate({ count: 1000, seed: 1 });
    expect(wrong).toEqual([]);
    // All the ways were gone.
    expect(ended.created).toBeGreaterThan(100);
    expect(ended.restored).toBeGreaterThan(5);
    expect(ended.refused).toBeGreaterThan(0);
    expect(ended.passed).toBeGreaterThan(0);
  },
);
