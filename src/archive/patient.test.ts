import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, onTestFinished, test } from "vitest";
import { patient, SlowExpressionError } from "./patient.ts";

test("gives what was computed, and what was thrown", () => {
  const root = patient((number: number) => {
    if (number < 0) throw new RangeError("negative");
    return Math.sqrt(number);
  }, 10_000);
  expect(root(9)).toBe(3);
  expect(() => root(-1)).toThrow(RangeError);
});

test("ends what takes too long", () => {
  const search = patient((text: string) => /[^\0]*password/.test(text), 50);
  expect(() => search("a".repeat(1_000_000))).toThrow(SlowExpressionError);
});

test("an interrupt ends it at once, and is heard by those who listen", async () => {
  const program = `
    import { writeSync } from "node:fs";
    import { patient } from ${JSON.stringify(join(import.meta.dirname, "patient.ts"))};
    const abort = new AbortController();
    process.once("SIGINT", () => abort.abort("heard"));
    const search = patient((text) => {
      writeSync(1, "began ");
      return /[^\\0]*password/.test(text);
    }, 3_600_000, abort.signal);
    try { search("a".repeat(10_000_000)); } catch (reason) { writeSync(1, String(reason)); }
  `;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  const output = text(child.stdout);
  await once(child.stdout, "data");
  child.kill("SIGINT");
  expect(await output).toBe("began heard");
});
