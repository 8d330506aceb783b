import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Mutant, mutants } from "./mutant-list.ts";

/**
 * Breaks named lines of the product one by one and runs the one test that guards each: it has to fail.
 *
 *   npm run test:mutants [-- --slow] [-- <words of a fault> ...]
 *
 * Works on HEAD in a work tree of its own, so that nothing here is touched, and refuses to run while files that it
 * would judge are changed and not committed. Each test is first run on the product as it is, where it has to pass:
 * a test that always fails guards nothing. With --slow, faults are included whose tests need the local cluster.
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { slow: { type: "boolean", default: false } },
});
const root = join(import.meta.dirname, "..");
const clusterName = process.env["KCR_TEST_CLUSTER"] ?? "kcr-mutants";

type Verdict =
  /** The test failed, as it should. */
  | { type: "caught" }
  /** It passed. */
  | { type: "survived" }
  /** It says nothing, and why. */
  | { type: "void"; why: string };

const chosen = mutants.filter(
  ({ fault, slow = false }) =>
    (values.slow || !slow) && (positionals.length === 0 || positionals.some((word) => fault.includes(word))),
);
if (chosen.length === 0) throw new Error(`no fault has any of the words ${positionals.join(", ")}`);
refuseUncommitted();

const work = mkdtempSync(join(tmpdir(), "kcr-mutants-"));
const tree = join(work, "tree");
let running: ChildProcess | undefined;
process.once("exit", cleanUp);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130));

git("worktree", "add", "--quiet", "--detach", tree, "HEAD");
symlinkSync(join(root, "node_modules"), join(tree, "node_modules"));

const begun = Date.now();
const sound = new Map<string, Verdict>();
const counts = { caught: 0, survived: 0, void: 0 };
console.log("| fault | line of | | s |\n|---|---|---|---|");
for (const mutant of chosen) {
  const since = Date.now();
  const verdict = await judge(mutant);
  counts[verdict.type]++;
  const said = verdict.type === "void" ? `**void**: ${verdict.why}` : verdict.type;
  const seconds = ((Date.now() - since) / 1000).toFixed(1);
  console.log(
    `| ${mutant.fault} | ${mutant.file} | ${said === "survived" ? "**survived**" : said} | ${seconds} |`,
  );
}
const minutes = ((Date.now() - begun) / 60_000).toFixed(1);
console.log(
  `\n${counts.caught} of ${chosen.length} caught, ${counts.survived} survived, ${counts.void} void; ${minutes} minutes`,
);
process.exit(counts.caught === chosen.length ? 0 : 1);

/** Breaks the line, runs the test and puts the line back. */
async function judge(mutant: Mutant): Promise<Verdict> {
  const path = join(tree, mutant.file);
  const text = readFileSync(path, "utf8");
  const places = text.split(mutant.find).length - 1;
  if (places !== 1) return { type: "void", why: `its line occurs ${places} times` };
  const before = await asItIs(mutant);
  if (before.type === "void") return before;
  try {
    writeFileSync(
      path,
      text.replace(mutant.find, () => mutant.replace),
    );
    const { passed, failed, tail } = await runTest(mutant);
    if (failed > 0) return { type: "caught" };
    return passed > 0 ? { type: "survived" } : { type: "void", why: `no test was run: ${tail}` };
  } finally {
    writeFileSync(path, text);
  }
}

/** Runs a mutant's test on the product as it is, once however many mutants share it. */
async function asItIs(mutant: Mutant): Promise<Verdict> {
  const key = JSON.stringify(mutant.test);
  let verdict = sound.get(key);
  if (verdict === undefined) {
    const { passed, failed, tail } = await runTest(mutant);
    const why = failed > 0 ? "its test fails on the product as it is" : `its test was not found: ${tail}`;
    verdict = failed === 0 && passed > 0 ? { type: "survived" } : { type: "void", why };
    sound.set(key, verdict);
  }
  return verdict;
}

interface Counted {
  passed: number;
  failed: number;
  /** The end of what was said. */
  tail: string;
}

/** Counts how often tests of the name passed and failed. */
async function runTest({ test: { project, file, name } }: Mutant): Promise<Counted> {
  const report = join(work, "report.json");
  rmSync(report, { force: true });
  const pattern = name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const child = spawn(
    join(root, "node_modules/.bin/vitest"),
    [
      ...["run", "--project", project, file, "--testNamePattern", pattern],
      // Of no use to wait longer for what a broken line may never bring.
      `--testTimeout=${["unit", "integration", "faults"].includes(project) ? 20_000 : 90_000}`,
      ...["--reporter=json", `--outputFile=${report}`],
    ],
    {
      cwd: tree,
      env: { ...process.env, KCR_TEST_CLUSTER: clusterName, KCR_KEEP_CLUSTER: "1" },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  running = child;
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      said = `${said}${chunk}`.slice(-300);
    });
  }
  await once(child, "close");
  running = undefined;
  try {
    const { numPassedTests, numFailedTests } = JSON.parse(readFileSync(report, "utf8"));
    return { passed: numPassedTests, failed: numFailedTests, tail: said.trim().split("\n").at(-1) ?? "" };
  } catch {
    return { passed: 0, failed: 0, tail: said.trim() };
  }
}

function refuseUncommitted(): void {
  const files = [...new Set(chosen.flatMap(({ file, test }) => [file, test.file]))];
  const changed = git("status", "--porcelain", "--", ...files, "scripts/mutant-list.ts");
  if (changed === "") return;
  console.error(`commit these first, for only what is committed is judged:\n${changed}`);
  process.exit(1);
}

function git(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync("git", ["-C", root, ...args], { encoding: "utf8" });
  if (status !== 0) throw new Error(`git ${args[0]}: ${stderr}`);
  return stdout.trimEnd();
}

function cleanUp(): void {
  running?.kill();
  spawnSync("git", ["-C", root, "worktree", "remove", "--force", tree]);
  rmSync(work, { recursive: true, force: true });
  if (values.slow && process.env["KCR_KEEP_CLUSTER"] !== "1") {
    const down = ["cluster/main.ts", "down", "--name", clusterName];
    spawnSync(process.execPath, down, { cwd: root, stdio: "inherit" });
  }
}
