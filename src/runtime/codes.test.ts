import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { ERRORS } from "../api/errors.ts";
import { CRIU_FAILURES } from "../archive/criu/failures.ts";

/** The handler carries no registry of errors along; what it says must be in it all the same. */
it("every code that the handler gives is one of kcr's error codes", () => {
  const sources = ["attempt.ts", "create.ts", "decide.ts", "parts/copy-check.ts", "parts/errors.ts"];
  const text = sources.map((name) => readFileSync(join(import.meta.dirname, name), "utf8")).join("\n");
  const given = [
    ...text.matchAll(/(?:new (?:Unfit|PartError)\(\s*|code: |fresh\(\s*|reason: |\?\? )"([A-Z]\w+)"/g),
  ].map(([, code]) => code ?? "");
  given.push(...CRIU_FAILURES.map(([code]) => code));
  // Why a container begins afresh although nothing went wrong.
  const reasons = ["CleanExit", "NotWanted", "FreshStart"];
  expect(given.length).toBeGreaterThan(8);
  expect(given.filter((code) => !(code in ERRORS) && !reasons.includes(code))).toEqual([]);
});
