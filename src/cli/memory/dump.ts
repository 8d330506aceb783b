import { type FileHandle, open, stat } from "node:fs/promises";
import { KcrError } from "../../api/errors.ts";
import type { CheckpointArchive } from "../../archive/checkpoint.ts";
import type { AddressSpace } from "../../archive/memory.ts";
import { type Selection, selectedMemory } from "../../archive/memory-search.ts";
import { UsageError } from "../errors.ts";
import { type Io, write } from "../io.ts";
import { Hexdump } from "../output/hexdump.ts";
import { startProgress } from "../output/progress.ts";
import { safe } from "../output/safe.ts";
import { size } from "../output/sizes.ts";
import { assertProcess, processMemories } from "./processes.ts";

export interface DumpRequest extends Selection {
  pid: number;
}

export interface Target {
  /** "-": stdout. */
  file: string;
  /** Whether a file that is there is replaced. */
  force: boolean;
}

const PIECE_BYTES = 256 * 1024;
/** Whoever reads memory reads the secrets in it. */
const OWNER_ONLY = 0o600;

/** Prints the memory that the archive holds of one process as a hex dump. Errors: as `processMemories`. */
export async function hexdump(io: Io, archive: CheckpointArchive, { pid, ...selection }: DumpRequest) {
  const { signal, stdout } = io;
  const dump = new Hexdump();
  for await (const { space } of processMemories(archive, pid)) {
    // Pieces end where lines do, but for the last one of a range.
    for await (const piece of selectedMemory(space, selection, { signal, pieceBytes: PIECE_BYTES })) {
      if (piece.state === "present") await write(stdout, dump.lines(piece.address, piece.bytes), signal);
    }
  }
}

/**
 * Writes memory to a file, as it is: of a range all of it, with zeros for what the archive does not
 * hold; without one only what it holds, one piece behind the other, and where each was on stderr.
 *
 * Errors: as `processMemories`; KcrError FileExists where there is such a file, and it is not to be replaced; those of
 * the file system.
 */
export async function dumpTo(
  io: Io,
  archive: CheckpointArchive,
  target: Target,
  { pid, ...selection }: DumpRequest,
): Promise<void> {
  // Before the file, which loses what it holds.
  await assertProcess(archive, pid);
  await using file = target.file === "-" ? undefined : await openTarget(archive, target);
  const sink: Sink = { io, file, position: 0 };
  using progress = startProgress(io, `writing ${target.file}`);
  const shown = () => progress.update({ done: sink.position });
  for await (const { space } of processMemories(archive, pid)) {
    if (selection.range) await dumpRange(sink, space, selection.range, shown);
    else await dumpHeld(sink, space, selection, shown);
  }
}

/** An empty file for its owner alone. Errors: UsageError for the archive itself; KcrError FileExists. */
async function openTarget({ path }: CheckpointArchive, { file: target, force }: Target): Promise<FileHandle> {
  const [own, there] = await Promise.all([path, target].map((one) => stat(one).catch(() => undefined)));
  if (own !== undefined && own.ino === there?.ino && own.dev === there.dev) {
    throw new UsageError(`${target} is the archive itself`);
  }
  // What is no file, as a pipe, loses nothing.
  if (there?.isFile() && !force) throw new KcrError("FileExists", `${target} is there already`);
  const file = await open(target, there === undefined ? "wx" : "w", OWNER_ONLY);
  if ((await file.stat()).isFile()) await file.chmod(OWNER_ONLY);
  return file;
}

interface Sink {
  io: Io;
  file: FileHandle | undefined;
  position: number;
}

async function put(sink: Sink, bytes: Buffer): Promise<void> {
  const { io, file } = sink;
  if (file === undefined) await write(io.stdout, bytes, io.signal);
  else for (let at = 0; at < bytes.length; ) at += (await file.write(bytes, at)).bytesWritten;
  sink.position += bytes.length;
}

async function dumpRange(
  sink: Sink,
  space: AddressSpace,
  { start, end }: { start: bigint; end: bigint },
  shown: () => void,
): Promise<void> {
  const { signal, stderr } = sink.io;
  const zeros = Buffer.alloc(PIECE_BYTES);
  let lacking = 0;
  for await (const piece of space.readRange(start, Number(end - start), {
    signal,
    pieceBytes: PIECE_BYTES,
  })) {
    if (piece.state === "present") await put(sink, piece.bytes);
    else {
      if (piece.state !== "zero") lacking += piece.length;
      for (let left = piece.length; left > 0; left -= PIECE_BYTES) {
        signal.throwIfAborted();
        await put(sink, zeros.subarray(0, left));
      }
    }
    shown();
  }
  if (lacking > 0) stderr.write(`${size(lacking)} of that are not in the archive, and zeros here\n`);
}

async function dumpHeld(
  sink: Sink,
  space: AddressSpace,
  selection: Selection,
  shown: () => void,
): Promise<void> {
  const { signal, stderr } = sink.io;
  const run = { offset: 0, start: 0n, end: 0n, what: "" };
  const told = () => {
    if (run.end > run.start) {
      stderr.write(`${run.offset}  ${run.start.toString(16)}-${run.end.toString(16)} ${run.what}\n`);
    }
  };
  for await (const piece of selectedMemory(space, selection, { signal, pieceBytes: PIECE_BYTES })) {
    if (piece.state !== "present") continue;
    const { permissions, name, kind } = piece.mapping;
    const what = `${permissions} ${safe(name) || `[${kind}]`}`;
    if (piece.address !== run.end || what !== run.what) {
      told();
      Object.assign(run, { offset: sink.position, start: piece.address, what });
    }
    run.end = piece.address + BigInt(piece.length);
    await put(sink, piece.bytes);
    shown();
  }
  told();
}
