import { KcrError } from "../../api/errors.ts";
import type { CheckpointArchive } from "../../archive/checkpoint.ts";
import { type Hit, type Pattern, type Selection, searchMemory } from "../../archive/memory-search.ts";
import { SlowExpressionError } from "../../archive/patient.ts";
import { UsageError } from "../errors.ts";
import { EXIT } from "../exit.ts";
import type { Io } from "../io.ts";
import { Hexdump } from "../output/hexdump.ts";
import { LineWriter } from "../output/line-writer.ts";
import { startProgress } from "../output/progress.ts";
import { safe, safeJson } from "../output/safe.ts";
import { textOf } from "./bytes-text.ts";
import { type ProcessMemory, processMemories } from "./processes.ts";

export interface SearchRequest extends Selection {
  pid?: number;
  pattern: Pattern;
  contextBytes: number;
  format: "table" | "json";
}

/** Of a match, or of what is around it, in a line. */
const SHOWN_CHARACTERS = 200;
const WIDTH = { pid: 7, address: 16, permissions: 4, name: 24 };

/**
 * Prints every place where the pattern is found, as it is found: a line each, or with context a dump of each.
 * Exit code `no` when there is none.
 *
 * Errors: `UsageError` for an expression that is none, KcrError ExpressionTooSlow for one that tries too much; as `processMemories`.
 */
export async function search(
  io: Io,
  archive: CheckpointArchive,
  { pid, pattern, contextBytes, format, ...selection }: SearchRequest,
): Promise<void> {
  const { signal } = io;
  const output = new LineWriter(io);
  const print = printers[format === "json" ? "json" : contextBytes > 0 ? "dump" : "line"];
  let hits = 0;
  using progress = startProgress(io, "searching");
  for await (const memory of processMemories(archive, pid)) {
    const { pid, name } = memory.process;
    const total = memory.space.pagemap.presentBytes;
    const onProgress = (done: number) => progress.update({ text: `process ${pid}, ${name}`, done, total });
    const options = { ...selection, contextBytes, signal, onProgress };
    for await (const hit of usable(searchMemory(memory.space, pattern, options))) {
      if (hits === 0) {
        output.text(print.head);
        // It would stand among the matches.
        if (io.terminal.out) progress[Symbol.dispose]();
      }
      output.text(print.hit(hit, memory, hits));
      hits += 1;
      if (output.isFull || io.terminal.out) await output.flush();
    }
  }
  if (hits > 0 || format === "json") output.text(hits > 0 ? print.tail : print.head + print.tail);
  await output.flush();
  if (hits > 0) return;
  io.exitCode = EXIT.no;
  io.stderr.write("not found in the memory that the checkpoint holds\n");
}

async function* usable(hits: AsyncIterable<Hit>): AsyncGenerator<Hit> {
  try {
    yield* hits;
  } catch (error) {
    if (error instanceof SyntaxError) throw new UsageError(error.message);
    if (error instanceof SlowExpressionError)
      throw new KcrError("ExpressionTooSlow", error.message, { cause: error });
    throw error;
  }
}

/** Hits as text, each with the end of its line. */
interface Printer {
  head: string;
  hit(hit: Hit, memory: ProcessMemory, before: number): string;
  tail: string;
}

const hex = (address: bigint): string => address.toString(16).padStart(WIDTH.address, "0");

const placeOf = ({ mapping }: Hit): string => safe(mapping.name) || `[${mapping.kind}]`;

function columns(pid: string, address: string, permissions: string, name: string, match: string): string {
  const left = `${pid.padStart(WIDTH.pid)}  ${address.padEnd(WIDTH.address)}  `;
  return `${left}${permissions.padEnd(WIDTH.permissions)}  ${name.padEnd(WIDTH.name)}  ${match}\n`;
}

const printers: Readonly<Record<"line" | "dump" | "json", Printer>> = {
  line: {
    head: columns("PID", "ADDRESS", "PERM", "MAPPING", "MATCH"),
    hit(hit, { process }) {
      const { address, mapping, context } = hit;
      const text = textOf(context.bytes);
      const shown = text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
      return columns(String(process.pid), hex(address), mapping.permissions, placeOf(hit), shown);
    },
    tail: "",
  },
  dump: {
    head: "",
    hit(hit, { process }, before) {
      const { address, length, mapping, context } = hit;
      const where = `${hex(address)} ${mapping.permissions} ${placeOf(hit)}`;
      const head = `process ${process.pid} ${safe(process.name)}: ${where}, ${length} bytes\n`;
      const dump = new Hexdump().lines(context.start, context.bytes).toString("latin1");
      return (before > 0 ? "\n" : "") + head + dump;
    },
    tail: "",
  },
  json: {
    head: '{"hits":[',
    hit({ address, length, mapping, context }, { process }, before) {
      const { start, end, permissions, kind, name } = mapping;
      const hit = {
        pid: process.pid,
        process: process.name,
        address: address.toString(16),
        length,
        mapping: { start: start.toString(16), end: end.toString(16), permissions, kind, name },
        context: { start: context.start.toString(16), base64: context.bytes.toString("base64") },
        text: textOf(context.bytes),
      };
      return `${before > 0 ? "," : ""}\n${safeJson(hit)}`;
    },
    tail: "\n]}\n",
  },
};
