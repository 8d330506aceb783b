import type { MappingKind } from "./criu/mm.ts";
import type { AddressSpace, Mapping, MemoryPiece, ReadOptions } from "./memory.ts";
import { patient } from "./patient.ts";

/** What is looked for: text by its bytes in UTF-8, or a regular expression. */
export type Pattern =
  | { type: "text"; text: string }
  /**
   * An expression of JavaScript's, without the flag `v` or `u`: it sees each byte as the character of that number,
   * and its own characters that are not ASCII stand for their bytes in UTF-8.
   */
  | { type: "regex"; source: string; ignoreCase?: boolean };

/** Which memory is meant; without any of these all of it. */
export interface Selection {
  kinds?: ReadonlySet<MappingKind>;
  /** [start, end). */
  range?: { start: bigint; end: bigint };
}

export interface Hit {
  address: bigint;
  /** Bytes, of the match. */
  length: number;
  /** Where it begins. */
  mapping: Mapping;
  /** The match and what surrounds it, as far as the checkpoint holds that; `bytes` begin at `start`. */
  context: { start: bigint; bytes: Buffer };
}

export interface SearchOptions extends Selection {
  /** Bytes before and after each match that are shown with it. Default 0. */
  contextBytes?: number;
  signal?: AbortSignal;
  /** Called with how many bytes have been looked at. */
  onProgress?: (bytes: number) => void;
  /** Bytes looked at at once; for tests. */
  pieceBytes?: number;
  /** How long an expression may take for each of these pieces; for tests. */
  pieceMs?: number;
}

/** A match of an expression that is longer than this may be found in pieces. */
export const LONGEST_MATCH = 16 * 1024;
/** To have a search end in time costs about a tenth of a millisecond: not for less than this. */
const PIECE_BYTES = 2 * 1024 * 1024;
/** V8 is quickest with text of about 256 KiB. */
const TEXTS_IN_PIECE = 8;
/** An expression as most are takes some milliseconds for a piece. */
const PIECE_MS = 5_000;

/**
 * Looks for a pattern in the memory that the checkpoint holds of a process, by ascending addresses. A match may
 * lie across pages and mappings that adjoin each other; memory that was never touched is not searched.
 *
 * Guarantees: one pass over the pages in place; what is held does not grow with them.
 * Errors: a `SyntaxError` for an expression that is none, a `SlowExpressionError` for one that tries too much;
 * `ArchiveError`; the signal's reason.
 */
export async function* searchMemory(
  space: AddressSpace,
  pattern: Pattern,
  options: SearchOptions = {},
): AsyncGenerator<Hit, void, undefined> {
  const { contextBytes = 0, signal, onProgress, pieceBytes = PIECE_BYTES, pieceMs = PIECE_MS } = options;
  const { expression, longest } = compile(pattern);
  const textBytes = Math.ceil(pieceBytes / TEXTS_IN_PIECE);
  const matching = (part: Part) => places(expression, longest, textBytes, part);
  // Text is found in one pass, whatever it is.
  const find = pattern.type === "text" ? matching : patient(matching, pieceMs, signal);
  const held = new Held(longest + contextBytes, pieceBytes);
  let looked = 0;
  const into = (length: number) => held.room(length);
  for await (const piece of selectedMemory(space, options, { signal, pieceBytes, into })) {
    const isPresent = piece.state === "present";
    if (!isPresent || piece.address !== held.end) {
      yield* matches(held.length);
      held.clear();
    }
    if (!isPresent) continue;
    held.take(piece.address, piece.bytes);
    // What begins further back may go on in the next piece, and is found with it.
    yield* matches(held.length - longest + 1);
    looked += piece.length;
    onProgress?.(looked);
  }
  yield* matches(held.length);

  /** Those that begin before `limit`. */
  async function* matches(limit: number): AsyncGenerator<Hit, void, undefined> {
    if (limit <= held.searched) return;
    const { bytes, start } = held;
    let next = limit;
    for (const { at, length } of find({ bytes, from: held.searched, limit })) {
      next = Math.max(limit, at + length);
      const address = start + BigInt(at);
      const context = await surroundings(bytes, at, length);
      yield { address, length, mapping: space.find(address)!, context };
    }
    held.searched = next;
  }

  async function surroundings(bytes: Buffer, at: number, length: number): Promise<Hit["context"]> {
    const [first, end] = [at - contextBytes, at + length + contextBytes];
    if (contextBytes === 0 || (first >= 0 && end <= bytes.length)) {
      return { start: held.start + BigInt(first), bytes: Buffer.from(bytes.subarray(first, end)) };
    }
    return await presentAround(space, held.start + BigInt(at), length, contextBytes);
  }
}

/** What is searched now: for that which begins at `from` or behind it, and before `limit`. */
interface Part {
  bytes: Buffer;
  from: number;
  limit: number;
}

/** Where an expression matches something, by texts that see `longest` bytes on either side of them. */
function places(
  expression: RegExp,
  longest: number,
  textBytes: number,
  { bytes, from, limit }: Part,
): { at: number; length: number }[] {
  const places = [];
  for (let next = from; next < limit; ) {
    const end = Math.min(next + textBytes, limit);
    const start = Math.max(0, next - longest);
    const text = bytes.toString("latin1", start, end + longest);
    expression.lastIndex = next - start;
    next = end;
    for (let match = expression.exec(text); match; match = expression.exec(text)) {
      const at = start + match.index;
      const [{ length }] = match;
      if (at >= end) break;
      // An expression that matches nothing would do so for ever.
      if (length === 0) expression.lastIndex += 1;
      else {
        places.push({ at, length });
        next = Math.max(end, at + length);
      }
    }
  }
  return places;
}

/** Whether a selection means some of a mapping. */
export const isSelected = ({ start, end, kind }: Mapping, { kinds, range }: Selection): boolean =>
  (!kinds || kinds.has(kind)) && (!range || (range.start < end && range.end > start));

/** The memory that a selection means, in order. */
export async function* selectedMemory(
  space: AddressSpace,
  selection: Selection,
  options: ReadOptions = {},
): AsyncGenerator<Exclude<MemoryPiece, { state: "unmapped" }>, void, undefined> {
  const { range } = selection;
  for (const mapping of space.mappings) {
    if (!isSelected(mapping, selection)) continue;
    const { start, end } = mapping;
    const from = range && range.start > start ? range.start : start;
    const until = range && range.end < end ? range.end : end;
    for await (const piece of space.readRange(from, Number(until - from), options)) {
      if (piece.state !== "unmapped") yield piece;
    }
  }
}

/** The bytes that are known without a gap around a place whose own bytes are. */
async function presentAround(
  space: AddressSpace,
  address: bigint,
  length: number,
  more: number,
): Promise<Hit["context"]> {
  const wanted = address > BigInt(more) ? address - BigInt(more) : 0n;
  let start = wanted;
  let parts: Buffer[] = [];
  for await (const piece of space.readRange(wanted, Number(address - wanted) + length + more)) {
    if (piece.state === "present") parts.push(piece.bytes);
    else if (piece.address > address) break;
    else {
      parts = [];
      start = piece.address + BigInt(piece.length);
    }
  }
  return { start, bytes: Buffer.concat(parts) };
}

/**
 * The memory without gaps that is being searched: the piece read last, and before it so much of what preceded as a
 * match or its context may need. The same buffer throughout.
 */
class Held {
  /** Where the search goes on. */
  searched = 0;
  start = 0n;
  length = 0;
  readonly #keep: number;
  readonly #buffer: Buffer;

  constructor(keep: number, pieceBytes: number) {
    this.#keep = keep;
    this.#buffer = Buffer.allocUnsafe(keep + pieceBytes);
  }

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.length);
  }

  /** Undefined when nothing is held. */
  get end(): bigint | undefined {
    return this.length === 0 ? undefined : this.start + BigInt(this.length);
  }

  /** The place for the next piece, behind what has to be kept. */
  room(length: number): Buffer {
    const dropped = this.length - Math.min(this.length, this.#keep);
    if (dropped > 0) {
      this.#buffer.copyWithin(0, dropped, this.length);
      this.start += BigInt(dropped);
      this.length -= dropped;
      this.searched = Math.max(0, this.searched - dropped);
    }
    return this.#buffer.subarray(this.length, this.length + length);
  }

  clear(): void {
    this.length = 0;
    this.searched = 0;
  }

  /** Takes what was read into the room that was given. */
  take(address: bigint, piece: Buffer): void {
    if (this.length === 0) {
      this.start = address;
      // Room was behind what is not held any more.
      this.#buffer.set(piece, 0);
    }
    this.length += piece.length;
  }
}

/** As an expression over bytes, each seen as a character; and how many bytes a match may have. */
function compile(pattern: Pattern): { expression: RegExp; longest: number } {
  const inBytes = (text: string) => Buffer.from(text, "utf8").toString("latin1");
  switch (pattern.type) {
    case "text": {
      const text = inBytes(pattern.text);
      if (text === "") throw new SyntaxError("nothing to look for");
      return {
        expression: new RegExp(text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"), "g"),
        longest: text.length,
      };
    }
    case "regex": {
      const flags = pattern.ignoreCase ? "gi" : "g";
      return { expression: new RegExp(inBytes(pattern.source), flags), longest: LONGEST_MATCH };
    }
  }
}
