import type { AddressSpace, Mapping, MemoryPiece } from "./memory.ts";

/** How the memory of a process differs between two checkpoints, in one mapping. All numbers are pages. */
export interface MappingDiff {
  /** As the second checkpoint has it, or for one that only the first has, the first. */
  mapping: Mapping;
  change: "added" | "removed" | "changed";
  /** Of the mapping. */
  pages: number;
  /** That hold other bytes than before; of one that was added or removed, those that hold any. */
  changed: number;
  /** Of which one of the two archives does not hold what is in them: they are in a parent checkpoint. */
  unknown: number;
}

export interface MemoryDiffOptions {
  signal?: AbortSignal;
  /** Called with how many bytes have been compared. */
  onProgress?: (bytes: number) => void;
}

/** Pages compared at once, of the usual size. */
const WINDOW_BYTES = 256 * 1024;

/**
 * Compares what two checkpoints hold at the same addresses, page by page; only mappings that differ are given, those
 * of the second by their addresses, then those that only the first has.
 *
 * A page that was never touched is one of zeros. Of a file that is mapped privately a page differs when one of the
 * two has changed it, or both, differently.
 *
 * Guarantees: two passes at most over what is held, in place. What is kept grows with the runs of pages.
 * Errors: `ArchiveError`; the signal's reason.
 */
export async function* diffMemory(
  before: AddressSpace,
  after: AddressSpace,
  { signal, onProgress = () => {} }: MemoryDiffOptions = {},
): AsyncGenerator<MappingDiff, void, undefined> {
  const { pageSize } = after;
  const held = await heldRanges(before);
  const windows = new Windows(before, after, signal);
  let compared = 0;
  for (const mapping of after.mappings) {
    const { start, end, size } = mapping;
    const old = before.between(start, end);
    const { ranges, elsewhere } = await holdingOf(after, mapping);
    const counts = { changed: 0, unknown: elsewhere / pageSize };
    for (const window of windowsOf(merged([...within(held, mapping), ...ranges]))) {
      signal?.throwIfAborted();
      await windows.compare(window, counts);
      compared += window.length;
      onProgress(compared);
    }
    const isSame = old.length === 1 && alike(old[0]!, mapping);
    if (isSame && counts.changed === 0 && counts.unknown === 0) continue;
    yield { mapping, change: old.length === 0 ? "added" : "changed", pages: size / pageSize, ...counts };
  }
  for (const mapping of before.mappings) {
    if (after.between(mapping.start, mapping.end).length > 0) continue;
    const { ranges, elsewhere } = await holdingOf(before, mapping);
    const bytes = ranges.reduce((sum, { start, end }) => sum + Number(end - start), 0);
    const counts = { changed: bytes / pageSize, unknown: elsewhere / pageSize };
    yield { mapping, change: "removed", pages: mapping.size / pageSize, ...counts };
  }
}

const alike = (a: Mapping, b: Mapping): boolean =>
  a.start === b.start &&
  a.end === b.end &&
  a.permissions === b.permissions &&
  a.kind === b.kind &&
  a.name === b.name &&
  a.offset === b.offset;

type State = MemoryPiece["state"];

const isElsewhere = (state: State): boolean => state === "parent" || state === "lazy";

interface Range {
  start: bigint;
  end: bigint;
}

/** Where a checkpoint holds pages of a mapping, and how many bytes of it are in a parent. */
async function holdingOf(
  space: AddressSpace,
  mapping: Mapping,
): Promise<{ ranges: Range[]; elsewhere: number }> {
  const ranges: Range[] = [];
  let elsewhere = 0;
  for await (const { state, address, length } of space.extents(mapping)) {
    if (state === "present") ranges.push({ start: address, end: address + BigInt(length) });
    if (isElsewhere(state)) elsewhere += length;
  }
  return { ranges, elsewhere };
}

async function heldRanges(space: AddressSpace): Promise<Range[]> {
  const ranges: Range[] = [];
  for (const mapping of space.mappings) {
    for (const range of (await holdingOf(space, mapping)).ranges) ranges.push(range);
  }
  return ranges;
}

/** The parts of ordered ranges that lie in another. */
function* within(ranges: readonly Range[], { start, end }: Range): Generator<Range> {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ranges[middle]!.end > start) high = middle;
    else low = middle + 1;
  }
  for (let i = low; i < ranges.length && ranges[i]!.start < end; i++) {
    const range = ranges[i]!;
    yield { start: range.start > start ? range.start : start, end: range.end < end ? range.end : end };
  }
}

function merged(ranges: readonly Range[]): Range[] {
  const result: Range[] = [];
  for (const { start, end } of ranges.toSorted((a, b) =>
    a.start < b.start ? -1 : a.start > b.start ? 1 : 0,
  )) {
    const last = result.at(-1);
    if (last === undefined || start > last.end) result.push({ start, end });
    else if (end > last.end) last.end = end;
  }
  return result;
}

interface Window {
  address: bigint;
  length: number;
}

function* windowsOf(ranges: readonly Range[]): Generator<Window> {
  for (const { start, end } of ranges) {
    for (let at = start; at < end; at += BigInt(WINDOW_BYTES)) {
      yield { address: at, length: Math.min(Number(end - at), WINDOW_BYTES) };
    }
  }
}

/** Compares the same stretch of two memories, in buffers that are used again. */
class Windows {
  readonly #before: Side;
  readonly #after: Side;
  readonly #pageSize: number;

  constructor(before: AddressSpace, after: AddressSpace, signal: AbortSignal | undefined) {
    this.#pageSize = after.pageSize;
    this.#before = new Side(before, after.pageSize, signal);
    this.#after = new Side(after, after.pageSize, signal);
  }

  async compare(window: Window, counts: { changed: number; unknown: number }): Promise<void> {
    const [a, b] = [this.#before, this.#after];
    await Promise.all([a.read(window), b.read(window)]);
    const pageSize = this.#pageSize;
    for (let page = 0, at = 0; at < window.length; page += 1, at += pageSize) {
      const [was, is] = [a.states[page]!, b.states[page]!];
      // Those of the second that are elsewhere are counted with their mapping.
      if (isElsewhere(is)) continue;
      const end = Math.min(at + pageSize, window.length);
      if (isElsewhere(was)) counts.unknown += 1;
      else if (isBytes(was) && isBytes(is)) {
        if (a.bytes.compare(b.bytes, at, end, at, end) !== 0) counts.changed += 1;
      } else if (was === "present" || is === "present") counts.changed += 1;
    }
  }
}

const isBytes = (state: State): boolean => state === "present" || state === "zero";

/** One memory's bytes and the state of each page. */
class Side {
  readonly bytes = Buffer.allocUnsafe(WINDOW_BYTES);
  readonly states: State[] = [];
  readonly #space: AddressSpace;
  readonly #pageSize: number;
  readonly #signal: AbortSignal | undefined;

  constructor(space: AddressSpace, pageSize: number, signal: AbortSignal | undefined) {
    this.#space = space;
    this.#pageSize = pageSize;
    this.#signal = signal;
  }

  async read({ address, length }: Window): Promise<void> {
    let at = 0;
    const into = (size: number) => this.bytes.subarray(at, at + size);
    for await (const piece of this.#space.readRange(address, length, { signal: this.#signal, into })) {
      const end = at + piece.length;
      if (piece.state === "zero") this.bytes.fill(0, at, end);
      const pageSize = this.#pageSize;
      for (let page = Math.floor(at / pageSize); page * pageSize < end; page++)
        this.states[page] = piece.state;
      at = end;
    }
  }
}
