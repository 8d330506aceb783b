import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs, stripVTControlCharacters } from "node:util";

/**
 * Everything that `npm test` runs, in an order that fails early: types and lint, then unit and integration
 * tests, then those on the local cluster, at last those that take parts of it down. Ends with what failed and
 * one line that counts all tests.
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { keep: { type: "boolean", default: false } },
});
const root = join(import.meta.dirname, "..");
const work = mkdtempSync(join(tmpdir(), "kcr-test-"));
const total = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];
let broken = false;

/** One test in the report of vitest's reporter `json`. */
interface Result {
  status: string;
  fullName: string;
  failureMessages: string[];
}

/** What a failure says, without the colours and the long stacks. */
const indented = (text: string): string =>
  stripVTControlCharacters(text)
    .split("\n")
    .slice(0, 12)
    .map((line) => `    ${line}`)
    .join("\n");

const run = (command: string, args: string[]): boolean => {
  console.log(`\n> ${command} ${args.join(" ")}`);
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, KCR_KEEP_CLUSTER: "1" },
  });
  if (error !== undefined) console.error(error.message);
  return status === 0;
};

/** Runs some of vitest's projects and adds what they counted. */
function vitest(...projects: string[]): void {
  const report = join(work, `${projects.join("-")}.json`);
  const selected = projects.flatMap((project) => ["--project", project]);
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  const ok = run("vitest", ["run", ...selected, ...reporters, ...positionals]);
  try {
    const counted = JSON.parse(readFileSync(report, "utf8"));
    total.passed += counted.numPassedTests;
    total.failed += counted.numFailedTests;
    total.skipped += counted.numPendingTests + counted.numTodoTests;
    for (const file of counted.testResults) {
      const failed = file.assertionResults.filter((test: Result) => test.status === "failed");
      for (const test of failed)
        failures.push(`${test.fullName}\n${indented(test.failureMessages.join("\n"))}`);
      if (file.status === "failed" && failed.length === 0)
        failures.push(`${file.name}\n${indented(file.message ?? "")}`);
    }
    // A file that could not be loaded, or a set-up that failed, is no test and a failure all the same.
    if (!ok && counted.numFailedTests === 0) broken = true;
  } catch {
    broken = true;
  }
}

try {
  for (const [command, args] of [
    ["tsc", ["--noEmit"]],
    ["biome", ["check", "."]],
  ] as const) {
    if (!run(command, [...args])) total.failed++;
    else total.passed++;
  }
  vitest("unit", "integration");
  vitest("e2e", "faults");
  vitest("disruptive");
} finally {
  if (!values.keep)
    run("node", ["cluster/main.ts", "down", "--name", process.env["KCR_TEST_CLUSTER"] ?? "kcr-test"]);
  rmSync(work, { recursive: true, force: true });
}
if (broken && total.failed === 0) total.failed++;
for (const failure of failures) console.log(`\nFAILED: ${failure}`);
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(total.failed > 0 ? 1 : 0);
