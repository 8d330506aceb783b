import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Bytes } from "../bytes.ts";
import { ArchiveError } from "../errors.ts";
import { firstRecord, imageBatches, imageHead } from "./image.ts";
import { parseMessage } from "./message.ts";

/**
 * Where the bytes of a stretch of memory are:
 * - present: at `offset` of the pages file
 * - parent: in the checkpoint that this one builds upon, which is another archive
 * - lazy: nowhere, they were left to be fetched from the running process
 * - absent: nowhere; what that means the mapping says (never touched, or as in its file)
 */
export type Stretch =
  | { state: "present"; address: bigint; length: number; offset: number }
  | { state: "parent" | "lazy" | "absent"; address: bigint; length: number };

/** Flags of pagemap_entry: images/pagemap.proto, criu/include/pagemap.h. */
const PE_PARENT = 1;
const PE_LAZY = 2;
const PE_PRESENT = 4;

/** A process of 8 TiB has as many runs if each second page of each GiB was left out. */
const RUN_LIMIT = 2_000_000;

/**
 * Which pages of a process (pagemap-<pid>.img) or of shared memory (pagemap-shmem-<id>.img, by offset) the checkpoint
 * holds, in runs of pages of one kind. Takes some 25 bytes of memory a run.
 *
 * Sources: images/pagemap.proto; criu/pagemap.c (that only present pages take space in pages-<id>.img, and what
 * images without flags mean).
 */
export class Pagemap {
  /** The N of pages-N.img. */
  readonly pagesId: number;
  /** In bytes. */
  readonly pageSize: number;
  readonly #name: string;
  #count = 0;
  /** Of each run: its first page's number, how many pages, and how many present ones precede it. */
  #first = new Float64Array(64);
  #pages = new Float64Array(64);
  #before = new Float64Array(64);
  #flags = new Uint8Array(64);
  #present = 0;
  #isClear = true;

  private constructor(name: string, pagesId: number, pageSize: number) {
    this.#name = name;
    this.pagesId = pagesId;
    this.pageSize = pageSize;
  }

  /**
   * Errors: `ArchiveError`: `malformed` also for runs that overlap or go backwards, `too-large` for more than are
   * read, `truncated`.
   */
  static async read(bytes: Bytes, pageSize: number): Promise<Pagemap> {
    let map: Pagemap | undefined;
    for await (const records of imageBatches(bytes, "pagemap")) {
      for (const record of records) {
        if (map !== undefined) map.#add(record);
        else map = new Pagemap(bytes.name, pagesIdIn(bytes.name, record), pageSize);
      }
    }
    if (map === undefined) throw new ArchiveError("truncated", `${bytes.name}: holds no record`);
    return map;
  }

  /** {@link pagesId} alone, without the runs. Errors: `ArchiveError`. */
  static async pagesIdOf(bytes: Bytes): Promise<number> {
    return pagesIdIn(bytes.name, await firstRecord(bytes, "pagemap"));
  }

  /** Whether each run has flags that are known, and that say where its pages are in one way only. */
  get isClear(): boolean {
    return this.#isClear;
  }

  /** How many runs there are. */
  get size(): number {
    return this.#count;
  }

  /** Bytes that the pages file holds. */
  get presentBytes(): number {
    return this.#present * this.pageSize;
  }

  /** Bytes of all runs, of whatever kind: what checkpointctl calls a process's memory size. */
  get mappedBytes(): number {
    let pages = 0;
    for (let i = 0; i < this.#count; i++) pages += this.#pages[i]!;
    return pages * this.pageSize;
  }

  /** What is known of `length` bytes from `address` on, in order, without gaps; neighbours may be of one state. */
  *stretches(address: bigint, length: number): Generator<Stretch, void, undefined> {
    const size = BigInt(this.pageSize);
    const end = address + BigInt(length);
    let at = address;
    for (let i = this.#find(Number(address / size)); at < end; i++) {
      const start = i < this.#count ? BigInt(this.#first[i]!) * size : end;
      if (start > at) {
        const until = start < end ? start : end;
        yield { state: "absent", address: at, length: Number(until - at) };
        at = until;
      }
      if (at >= end) return;
      const stop = start + BigInt(this.#pages[i]!) * size;
      const until = stop < end ? stop : end;
      const stretch = { address: at, length: Number(until - at) };
      const flags = this.#flags[i]!;
      if ((flags & PE_PRESENT) !== 0) {
        const offset = this.#before[i]! * this.pageSize + Number(at - start);
        yield { state: "present", offset, ...stretch };
      } else yield { state: (flags & PE_PARENT) !== 0 ? "parent" : "lazy", ...stretch };
      at = until;
    }
  }

  /** All runs, in order. */
  *runs(): Generator<Stretch, void, undefined> {
    for (let i = 0; i < this.#count; i++) {
      yield* this.stretches(BigInt(this.#first[i]!) * BigInt(this.pageSize), this.#pages[i]! * this.pageSize);
    }
  }

  /** The first run that ends after this page. */
  #find(page: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#first[middle]! + this.#pages[middle]! > page) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #add(record: Buffer): void {
    const { address, pages, flags, isClear } = readEntry(this.#name, record);
    const size = BigInt(this.pageSize);
    const first = Number(address / size);
    const i = this.#count;
    const isAfter = i === 0 || first >= this.#first[i - 1]! + this.#pages[i - 1]!;
    // Nothing lies beyond 64 bits; what fits into them has page numbers that a double holds.
    const isWithin = address + BigInt(pages) * size <= 1n << 64n;
    if (address % size !== 0n || pages === 0 || !isAfter || !isWithin) {
      throw new ArchiveError(
        "malformed",
        `${this.#name}: a run of ${pages} pages at 0x${address.toString(16)}`,
      );
    }
    if (i === RUN_LIMIT) throw new ArchiveError("too-large", `${this.#name}: more than ${RUN_LIMIT} runs`);
    if (i === this.#first.length) this.#grow();
    this.#first[i] = first;
    this.#pages[i] = pages;
    this.#before[i] = this.#present;
    this.#flags[i] = flags;
    this.#isClear &&= isClear;
    this.#count += 1;
    if ((flags & PE_PRESENT) !== 0) this.#present += pages;
  }

  #grow(): void {
    const doubled = <T extends Float64Array | Uint8Array>(from: T, to: T): T => {
      to.set(from);
      return to;
    };
    const length = this.#first.length * 2;
    this.#first = doubled(this.#first, new Float64Array(length));
    this.#pages = doubled(this.#pages, new Float64Array(length));
    this.#before = doubled(this.#before, new Float64Array(length));
    this.#flags = doubled(this.#flags, new Uint8Array(length));
  }
}

const pagesIdIn = (name: string, head: Buffer): number => parseMessage(name, head).number(1) ?? 0;

/** A run of pages of a pagemap that is written. */
export interface Run {
  address: bigint;
  pages: number;
  state: "present" | "parent" | "lazy";
}

const FLAGS: Readonly<Record<Run["state"], number>> = {
  present: PE_PRESENT,
  parent: PE_PARENT,
  lazy: PE_LAZY,
};
/** The older field for the number of pages has 32 bits. */
const COMPATIBLE_PAGES = 2 ** 32 - 1;

/** A pagemap-<pid>.img of these runs, in ascending order, whose present pages are in pages-<pagesId>.img. */
export function* encodePagemap(pagesId: number, runs: Iterable<Run>): Generator<Uint8Array, void, undefined> {
  yield imageHead("pagemap");
  yield record(new BinaryWriter().tag(1, WireType.Varint).uint32(pagesId));
  for (const { address, pages, state } of runs) {
    const entry = new BinaryWriter();
    entry.tag(1, WireType.Varint).uint64(address);
    entry.tag(2, WireType.Varint).uint32(Math.min(pages, COMPATIBLE_PAGES));
    entry.tag(4, WireType.Varint).uint32(FLAGS[state]);
    entry.tag(5, WireType.Varint).uint64(pages);
    yield record(entry);
  }
}

function record(message: BinaryWriter): Uint8Array {
  const bytes = message.finish();
  const framed = Buffer.allocUnsafe(4 + bytes.length);
  framed.writeUInt32LE(bytes.length);
  framed.set(bytes, 4);
  return framed;
}

/** One pagemap_entry, without the maps that `parseMessage` makes: there may be very many. */
function readEntry(
  name: string,
  record: Buffer,
): { address: bigint; pages: number; flags: number; isClear: boolean } {
  let address = 0n;
  let compatible = 0;
  let pages: number | undefined;
  let flags: number | undefined;
  let inParent = false;
  try {
    const reader = new BinaryReader(record);
    while (reader.pos < reader.len) {
      const [field, type] = reader.tag();
      if (type !== WireType.Varint) reader.skip(type, field);
      else if (field === 1) address = BigInt(reader.uint64());
      else if (field === 2) compatible = reader.uint32();
      else if (field === 3) inParent = reader.bool();
      else if (field === 4) flags = reader.uint32();
      else if (field === 5) pages = Number(reader.uint64());
      else reader.skip(type, field);
    }
  } catch (cause) {
    throw new ArchiveError("malformed", `${name}: not the message it should be`, { cause });
  }
  const known = (flags ?? 0) & (PE_PARENT | PE_LAZY | PE_PRESENT);
  // Images of before there were flags say so of a page in the parent, and nothing of one that is there.
  const meant = inParent ? known | PE_PARENT : flags === undefined ? PE_PRESENT : known;
  return {
    address,
    // 32 bits were not enough for everybody.
    pages: pages ?? compatible,
    flags: meant,
    isClear: (flags ?? 0) === known && ((meant & PE_PARENT) !== 0 ? meant === PE_PARENT : meant !== 0),
  };
}
