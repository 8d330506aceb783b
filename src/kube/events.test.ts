import fc from "fast-check";
import { expect, test } from "vitest";
import { cutBytes } from "./events.ts";
import { microTime } from "./time.ts";

test("a text is cut to its bytes, between characters", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: "binary", maxLength: 60 }),
      fc.integer({ min: 3, max: 40 }),
      (text, max) => {
        fc.pre(text.isWellFormed());
        const cut = cutBytes(text, max);
        expect(Buffer.byteLength(cut)).toBeLessThanOrEqual(max);
        if (Buffer.byteLength(text) <= max) expect(cut).toBe(text);
        else expect(text.startsWith(cut.slice(0, -1)) && cut.endsWith("…")).toBe(true);
      },
    ),
  );
});

test("a micro time has six digits", () => {
  expect(microTime(new Date("2030-01-02T03:04:05.678Z"))).toBe("2030-01-02T03:04:05.678000Z");
});
