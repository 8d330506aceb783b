import { spawn } from "node:child_process";
import { once } from "node:events";
import { link, mkdir, mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { ensureBinaries } from "../cluster/binaries.ts";
import { down, up } from "../cluster/cluster.ts";
import { progressTo } from "../cluster/progress.ts";
import { run as command } from "../cluster/run.ts";
import { bundleCli } from "../scripts/build.ts";
import { parsePeak } from "./lib/peak-memory.ts";
import { type Archives, redisArchives } from "./lib/redis-archives.ts";
import {
  atMost,
  type BenchArgs,
  type Figure,
  median,
  megabytes,
  type Ratio,
  type Report,
  seconds,
  thisMachine,
} from "./lib/report.ts";
import { inTurns } from "./lib/turns.ts";

const CLUSTER = "kcr-bench";
const MEMORY_LIMIT_MB = 150;

/** What both can do, each by its own words. Some commands take the directory, some both archives. */
const COMMANDS: Readonly<
  Record<string, (of: Archives & { directory: string }) => { ours: string[]; theirs: string[] }>
> = {
  show: ({ first }) => ({ ours: ["inspect", "-o", "table", first], theirs: ["show", first] }),
  list: ({ directory }) => ({ ours: ["inspect", directory], theirs: ["list", directory] }),
  inspect: ({ first }) => ({ ours: ["inspect", first], theirs: ["inspect", first] }),
  "inspect --all": ({ first }) => ({
    ours: ["inspect", "--all", first],
    theirs: ["inspect", "--all", first],
  }),
  memparse: ({ first }) => ({ ours: ["mem", first], theirs: ["memparse", first] }),
  "memparse --search": ({ first }) => ({
    ours: ["mem", first, "-p", "1", "-s", "value:99999"],
    theirs: ["memparse", first, "-p", "1", "-s", "value:99999"],
  }),
  "memparse --search-regex": ({ first }) => ({
    ours: ["mem", first, "-p", "1", "-r", "key:9999\\d+"],
    theirs: ["memparse", first, "-p", "1", "-r", "key:9999\\d+"],
  }),
  diff: ({ first, second }) => ({
    ours: ["diff", first, second, "--only", "processes,files,sockets"],
    theirs: ["diff", first, second, "--ps-tree-cmd", "--files", "--sockets"],
  }),
};

/** What only we do, for its memory and time. */
const OURS: Readonly<Record<string, (of: Archives) => string[]>> = {
  verify: ({ first }) => ["verify", first],
  "diff, with memory": ({ first, second }) => ["diff", first, second],
  "mem --search, a million matches": ({ first }) => ["mem", first, "-s", "value:"],
  "mem --hex": ({ first }) => ["mem", first, "-p", "1", "--hex"],
};

/**
 * Reading an archive of 1 GiB, the kubelet's of a Redis: each command that checkpointctl has too against it, our
 * bundled program as a person starts it; and the memory that ours takes. KCR_BENCH_ARCHIVES names a directory with
 * `checkpoint-first.tar` and `checkpoint-second.tar` that are used instead of new ones.
 */
export async function run({ runs, signal, note }: BenchArgs): Promise<Report> {
  await using parts = new AsyncDisposableStack();
  const work = await mkdtemp(join(tmpdir(), "kcr-bench-"));
  parts.defer(() => rm(work, { recursive: true, force: true }));
  const archives = await archivesFor(join(work, "archives"), signal);
  await bundleCli(work);
  const { "checkpointctl/checkpointctl": checkpointctl } = await ensureBinaries([
    "checkpointctl/checkpointctl",
  ]);
  const stage: Stage = { work, kcr: join(work, "kubectl-kcr"), signal };

  const figures: Record<string, Figure> = {};
  const ratios: Ratio[] = [];
  for (const [name, argv] of Object.entries(COMMANDS)) {
    const { ours, theirs } = argv(archives);
    const contenders = {
      kcr: () => timed(stage, [stage.kcr, ...ours]),
      checkpointctl: () => timed(stage, [checkpointctl!, ...theirs]),
    };
    const times = await inTurns(runs, contenders, async (contender, round) => {
      note(`${name}, round ${round + 1} of ${runs}: ${contender}`);
      await warm(archives, signal);
    });
    const peak = await peakOf(stage, ours);
    figures[`kcr, ${name}`] = seconds(median(times.kcr));
    figures[`checkpointctl, ${name}`] = seconds(median(times.checkpointctl));
    figures[`kcr's VmHWM, ${name}`] = megabytes(peak);
    ratios.push(
      atMost(`kcr / checkpointctl, ${name}`, median(times.kcr) / median(times.checkpointctl), 1),
      atMost(`kcr's VmHWM in MB, ${name}`, peak / 1e6, MEMORY_LIMIT_MB),
    );
  }
  for (const [name, argv] of Object.entries(OURS)) {
    note(`${name}: kcr alone`);
    await warm(archives, signal);
    figures[`kcr, ${name}`] = seconds(await timed(stage, [stage.kcr, ...argv(archives)]));
    const peak = await peakOf(stage, argv(archives));
    figures[`kcr's VmHWM, ${name}`] = megabytes(peak);
    ratios.push(atMost(`kcr's VmHWM in MB, ${name}`, peak / 1e6, MEMORY_LIMIT_MB));
  }
  return { bench: "inspect", machine: thisMachine(), runs, figures, ratios };
}

interface Stage {
  work: string;
  /** The program as it ships. */
  kcr: string;
  signal: AbortSignal;
}

/** By the names that `checkpointctl list` looks for. */
async function archivesFor(
  directory: string,
  signal: AbortSignal,
): Promise<Archives & { directory: string }> {
  await mkdir(directory);
  const place = (name: string) => join(directory, `checkpoint-${name}.tar`);
  const made = { directory, first: place("first"), second: place("second") };
  const given = process.env["KCR_BENCH_ARCHIVES"];
  if (given !== undefined) {
    for (const name of ["first", "second"]) await link(join(given, `checkpoint-${name}.tar`), place(name));
    return made;
  }
  const progress = progressTo();
  try {
    const cluster = await up({ name: CLUSTER, containerd: ["2.4"], progress, signal });
    await redisArchives(cluster, made, signal);
  } finally {
    await down({ name: CLUSTER, progress });
  }
  return made;
}

/** In the page cache, as after a download. */
const warm = async ({ first, second }: Archives, signal: AbortSignal): Promise<void> => {
  await command(["sh", "-c", 'cat "$@" >/dev/null', "sh", first, second], { signal });
};

/** From the start of a program to its end, its output thrown away. Exit code 3 of ours is an answer. */
async function timed(
  { signal, work }: Stage,
  argv: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<number> {
  await using sink = await open("/dev/null", "w");
  await using errors = await open(join(work, "stderr"), "w+");
  const began = performance.now();
  const [program, ...args] = argv;
  const child = spawn(program!, args, {
    stdio: ["ignore", sink.fd, errors.fd],
    // Where the node of ours is found.
    env: { ...process.env, ...env, PATH: `${dirname(process.execPath)}:${process.env["PATH"]}` },
    signal,
  });
  const [code] = await once(child, "exit");
  const took = performance.now() - began;
  if (code !== 0 && code !== 3) {
    throw new Error(`${argv.join(" ")}: ended with ${code}\n${await readFile(join(work, "stderr"), "utf8")}`);
  }
  return took;
}

async function peakOf(stage: Stage, args: readonly string[]): Promise<number> {
  const status = join(stage.work, "status");
  const hook = join(import.meta.dirname, "lib/report-peak.mjs");
  await timed(stage, [stage.kcr, ...args], {
    NODE_OPTIONS: `--import ${hook}`,
    KCR_BENCH_STATUS: status,
  });
  return parsePeak(status, await readFile(status, "utf8"));
}
