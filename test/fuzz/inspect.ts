import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import { checkpointAnnotations } from "../../src/archive/annotations.ts";
import { bufferBytes } from "../../src/archive/bytes.ts";
import { type CheckpointArchive, openCheckpoint } from "../../src/archive/checkpoint.ts";
import { verifyArchive } from "../../src/archive/verify.ts";
import { diffCheckpoints, TOPICS } from "../../src/cli/diff/diff.ts";
import { showDiff } from "../../src/cli/diff/view.ts";
import { errorLines, explain, UsageError } from "../../src/cli/errors.ts";
import { catFile } from "../../src/cli/fs/cat.ts";
import { listChanges } from "../../src/cli/fs/list.ts";
import { printLog } from "../../src/cli/inspect/log.ts";
import { PARTS, reportOf } from "../../src/cli/inspect/report.ts";
import { fileView, processView, socketView, summaryView } from "../../src/cli/inspect/tables.ts";
import { reportTree } from "../../src/cli/inspect/text.ts";
import { treeLines } from "../../src/cli/inspect/tree.ts";
import { type Io, print } from "../../src/cli/io.ts";
import { hexdump } from "../../src/cli/memory/dump.ts";
import { search } from "../../src/cli/memory/search.ts";
import { mappingTable, processTable } from "../../src/cli/memory/tables.ts";
import { painter } from "../../src/cli/output/colour.ts";
import { show } from "../../src/cli/output/print.ts";
import { describeLayer } from "../../src/oci/described-layer.ts";
import { bytesSource } from "../../src/oci/source.ts";
import { goodArchives, MONSTERS, madeArchive, pack } from "./archive-case.ts";
import { Random } from "./random.ts";

export interface InspectFuzz {
  count: number;
  seed: number;
  /** Whether the archives with a million of something are read too. Default true. */
  monsters?: boolean;
  progress?: (done: number) => void;
}

export interface InspectFuzzed {
  /** Readings that gave an answer, and such that ended in an error with a code, by code. */
  answers: number;
  errors: Record<string, number>;
  /** The longest that one took, in milliseconds, and the most memory that the process has held, in MB. */
  slowestMs: number;
  peakMB: number;
  /** What should not have been: an error without a code, output that does something to a terminal, a file. */
  wrong: { at: string; what: string }[];
}

/** More than this for one small archive would be a loop without an end, beside whatever else the machine does. */
const TOO_SLOW_MS = 20_000;
const WRONG_LIMIT = 20;

/** Every command that reads an archive, by what it calls. Some read a good archive beside the strange one. */
const READERS: Readonly<
  Record<string, (io: Io, archive: CheckpointArchive, good: CheckpointArchive) => Promise<unknown>>
> = {
  async inspect(io, archive) {
    const report = await reportOf(archive, { parts: new Set(PARTS), showSecrets: true });
    await show(io, "json", summaryView([report]));
    await print(io, ...treeLines([reportTree(report)], painter(io)));
  },
  async tables(io, archive) {
    const { processes = [] } = await reportOf(archive, { parts: new Set(["args", "files", "sockets"]) });
    await show(io, "wide", processView(processes));
    await show(io, "table", fileView(processes.flatMap(({ files }) => files ?? [])));
    await show(io, "wide", socketView(processes.flatMap(({ sockets }) => sockets ?? [])));
  },
  async mem(io, archive) {
    await show(io, "wide", await processTable(archive));
    await show(io, "table", await mappingTable(archive, 1));
  },
  search: (io, archive) =>
    search(io, archive, {
      pattern: { type: "regex", source: "secret=\\S+" },
      contextBytes: 8,
      format: "table",
    }),
  hexdump: (io, archive) => hexdump(io, archive, { pid: 1 }),
  fs: async (io, archive) => show(io, "wide", await listChanges(archive, io.signal)),
  cat: (io, archive) => catFile(io, archive, "/data/hard"),
  log: (io, archive) => printLog(io, archive, "container"),
  verify: (_io, archive) => verifyArchive(archive),
  async diff(io, archive, good) {
    const options = { topics: new Set(TOPICS), showSecrets: false, signal: io.signal };
    await showDiff(io, await diffCheckpoints(good, archive, options));
  },
  async build(_io, archive) {
    checkpointAnnotations(archive);
    const { bytes } = archive;
    await describeLayer(bytesSource(await bytes.read(0, bytes.size)));
  },
};

/**
 * Reads strange archives in every way there is to read one. Nothing but memory is used for it; that no file is
 * written is looked at in the directory that the process works in and in the one above.
 */
export async function fuzzInspect(options: InspectFuzz): Promise<InspectFuzzed> {
  const { count, seed, monsters = true, progress = () => {} } = options;
  const home = await mkdtemp(join(tmpdir(), "kcr-fuzz-"));
  const before = process.cwd();
  const below = join(home, "a", "b");
  await mkdir(below, { recursive: true });
  process.chdir(below);
  try {
    const result = await run(count, seed, monsters, progress);
    for (const path of await readdir(home, { recursive: true })) {
      if (path !== "a" && path !== "a/b") result.wrong.push({ at: "all", what: `${path} was written` });
    }
    return result;
  } finally {
    process.chdir(before);
    await rm(home, { recursive: true });
  }
}

async function run(count: number, seed: number, monsters: boolean, progress: (done: number) => void) {
  const result: InspectFuzzed = { answers: 0, errors: {}, slowestMs: 0, peakMB: 0, wrong: [] };
  const good = goodArchives();
  const names = Object.keys(READERS);
  await using other = await open(pack(good[0]!));
  for (let number = 0; number < count && result.wrong.length < WRONG_LIMIT; number++) {
    const random = new Random(seed + number * 7919);
    const bytes = madeArchive(good, random);
    await read(result, { at: `seed ${seed}, case ${number}`, bytes, name: random.pick(names), other });
    if (number % 1000 !== 0) continue;
    progress(number);
    // Lets go of what was freed, and lets a signal in.
    await new Promise(setImmediate);
  }
  for (const [name, make] of monsters ? Object.entries(MONSTERS) : []) {
    const bytes = make();
    for (const reader of names) {
      progress(count);
      await read(result, { at: name, bytes, name: reader, other });
    }
  }
  result.peakMB = Math.round(process.resourceUsage().maxRSS / 1000);
  return result;
}

interface Reading {
  at: string;
  bytes: Buffer;
  /** Of `READERS`. */
  name: string;
  other: CheckpointArchive;
}

async function read(result: InspectFuzzed, { at, bytes, name, other }: Reading): Promise<void> {
  const sink = new Sink();
  const wrong = (what: string) => result.wrong.push({ at: `${at}, ${name}`, what });
  const began = performance.now();
  try {
    await using archive = await open(bytes);
    await READERS[name]!(ioTo(sink), archive, other);
    result.answers += 1;
  } catch (error) {
    const code = error instanceof UsageError ? "usage" : explain(error).code;
    result.errors[code] = (result.errors[code] ?? 0) + 1;
    if (code === "Internal") wrong(String((error as Error).stack));
    if (UNSAFE.test(errorLines(error).join(""))) wrong(`error ${JSON.stringify(errorLines(error))}`);
  }
  const ms = Math.round(performance.now() - began);
  result.slowestMs = Math.max(result.slowestMs, ms);
  if (ms > TOO_SLOW_MS) wrong(`took ${ms} ms`);
  if (sink.unsafe !== undefined) wrong(`printed ${JSON.stringify(sink.unsafe)}`);
}

const open = (bytes: Buffer): Promise<CheckpointArchive> =>
  openCheckpoint({ ...bufferBytes("archive.tar", bytes), close: async () => {} }, { mayBeCompressed: true });

/** What a terminal would obey. */
const UNSAFE = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]/;

/** Takes what is printed, and keeps the first of it that should not have been. */
class Sink extends Writable {
  unsafe: string | undefined;

  override write(chunk: unknown): boolean {
    const text = typeof chunk === "string" ? chunk : Buffer.from(chunk as Uint8Array).toString();
    const at = this.unsafe === undefined ? text.search(UNSAFE) : -1;
    if (at >= 0) this.unsafe = text.slice(Math.max(0, at - 40), at + 40);
    return true;
  }
}

const NEVER = new AbortController().signal;
const EMPTY = Readable.from([]);

/** As on a terminal, but without colours: they would be what a terminal obeys. */
const ioTo = (sink: Sink): Io => ({
  stdin: EMPTY,
  stdout: sink,
  stderr: sink,
  env: {},
  signal: NEVER,
  columns: 80,
  colour: false,
  terminal: { in: false, out: true, err: false },
  exitCode: 0,
  program: "kcr",
});
