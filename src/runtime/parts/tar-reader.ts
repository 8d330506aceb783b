import { PartError } from "./errors.ts";
import type { RawPath } from "./tree.ts";

export type TarType = "file" | "hardlink" | "symlink" | "character" | "block" | "directory" | "fifo";

/** One entry of a tar; names and link names as they stand there, unchecked. */
export interface TarEntry {
  name: RawPath;
  type: TarType;
  linkName: RawPath;
  /** Permission bits with setuid, setgid and sticky. */
  mode: number;
  uid: number;
  gid: number;
  /** Seconds since 1970. */
  mtime: number;
  /** Of a device. */
  major: number;
  minor: number;
  /** Extended attributes: name to bytes. */
  xattrs: ReadonlyMap<string, Buffer>;
  /** Bytes of content; 0 for all but files. */
  size: number;
  /** To be read before the next entry is asked for; what is left of it is passed over. */
  content(): AsyncIterable<Buffer>;
}

const BLOCK = 512;
/** Of one extended header or long name. Extended attributes take up to 64 KiB each. */
const HEADER_LIMIT = 1024 * 1024;

/**
 * The entries of a tar that comes as a stream: v7, ustar, GNU's long names and large numbers, and pax
 * (POSIX.1-2001) with extended attributes (`SCHILY.xattr.*`), whose bytes are kept as they are.
 *
 * Errors: `PartError` (`ArchiveInvalid`) for what is no tar, ends early, or holds a sparse file; the stream's own.
 */
export async function* readTarStream(
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<TarEntry, void, undefined> {
  await using source = new Source(chunks);
  let pax: ReadonlyMap<string, Buffer> = new Map();
  let long: { name?: RawPath; linkName?: RawPath } = {};
  for (;;) {
    const block = await source.read(BLOCK);
    if (block.every((byte) => byte === 0)) return;
    if (!checksumHolds(block)) throw invalid("holds something that is no tar header");
    const flag = String.fromCharCode(block[156]!);
    const ownSize = numberAt(block, 124, 12);

    if (!Number.isSafeInteger(ownSize) || ownSize < 0) throw invalid("has an entry with a size that is none");
    if (flag === "x" || flag === "g" || flag === "L" || flag === "K") {
      if (ownSize > HEADER_LIMIT) throw invalid(`has an extended header of ${ownSize} bytes`);
      const content = await source.read(ownSize);
      await source.skip(padding(ownSize));
      if (flag === "x") pax = parsePax(content);
      if (flag === "L") long = { ...long, name: text(content) };
      if (flag === "K") long = { ...long, linkName: text(content) };
      continue;
    }

    const name = pax.get("path")?.toString("latin1") ?? long.name ?? ustarName(block);
    const type = typeOf(flag, name);
    const isSparse = flag === "S" || [...pax.keys()].some((key) => key.startsWith("GNU.sparse."));
    if (!type || isSparse) throw invalid(`has an entry of a kind that is not read (${JSON.stringify(flag)})`);
    const size = paxSize(pax) ?? ownSize;
    if (size > 0 && type !== "file") throw invalid(`has content in a ${type}`);
    let left = size;
    yield {
      name,
      type,
      linkName: pax.get("linkpath")?.toString("latin1") ?? long.linkName ?? text(block.subarray(157, 257)),
      mode: numberAt(block, 100, 8) & 0o7777,
      uid: checkedId(paxNumber(pax, "uid") ?? numberAt(block, 108, 8)),
      gid: checkedId(paxNumber(pax, "gid") ?? numberAt(block, 116, 8)),
      mtime: paxNumber(pax, "mtime") ?? numberAt(block, 136, 12),
      major: numberAt(block, 329, 8),
      minor: numberAt(block, 337, 8),
      xattrs: xattrsOf(pax),
      size,
      async *content() {
        while (left > 0) {
          const chunk = await source.some(left);
          left -= chunk.length;
          yield chunk;
        }
      },
    };
    await source.skip(left);
    await source.skip(padding(size));
    pax = new Map();
    long = {};
  }
}

const TYPES: Readonly<Record<string, TarType>> = {
  "\0": "file",
  "0": "file",
  "7": "file",
  "1": "hardlink",
  "2": "symlink",
  "3": "character",
  "4": "block",
  "5": "directory",
  "6": "fifo",
};

/** Old tars wrote directories as files whose names end with a slash. */
const typeOf = (flag: string, name: RawPath): TarType | undefined =>
  TYPES[flag] === "file" && name.endsWith("/") ? "directory" : TYPES[flag];

const padding = (size: number): number => (BLOCK - (size % BLOCK)) % BLOCK;

const invalid = (what: string): PartError => new PartError("ArchiveInvalid", `the tar ${what}`);

/** Pieces of wanted lengths out of a stream's chunks. */
class Source implements AsyncDisposable {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#chunks.return?.();
  }

  /** At most that many bytes, at least one. */
  async some(length: number): Promise<Buffer> {
    while (this.#rest.length === 0) {
      const next = await this.#chunks.next();
      if (next.done) throw invalid("ends early");
      this.#rest = next.value;
    }
    const chunk = this.#rest.subarray(0, length);
    this.#rest = this.#rest.subarray(chunk.length);
    return chunk;
  }

  async read(length: number): Promise<Buffer> {
    const first = length === 0 ? Buffer.alloc(0) : await this.some(length);
    if (first.length === length) return first;
    const pieces = [first];
    for (let have = first.length; have < length; ) {
      const piece = await this.some(length - have);
      pieces.push(piece);
      have += piece.length;
    }
    return Buffer.concat(pieces);
  }

  async skip(length: number): Promise<void> {
    for (let left = length; left > 0; ) left -= (await this.some(left)).length;
  }
}

/** The sum of all bytes, with the checksum's own eight as spaces. */
function checksumHolds(block: Buffer): boolean {
  let sum = 8 * 0x20;
  for (const [index, byte] of block.entries()) if (index < 148 || index >= 156) sum += byte;
  return numberAt(block, 148, 8) === sum;
}

/** Octal digits, or with the first bit set a big-endian number (GNU; below zero with the second bit set too). */
function numberAt(block: Buffer, offset: number, length: number): number {
  const field = block.subarray(offset, offset + length);
  if (field[0]! & 0x80) {
    const bits = 8 * length - 1;
    const value = BigInt(`0x${field.toString("hex")}`) & ((1n << BigInt(bits)) - 1n);
    return Number(BigInt.asIntN(bits, value));
  }
  const digits = /^[ \0]*([0-7]*)[ \0]*/.exec(field.toString("latin1"))?.[1];
  return digits ? Number.parseInt(digits, 8) : 0;
}

/** The name field, and before it the prefix of POSIX's header (GNU's has other things in that place). */
function ustarName(block: Buffer): RawPath {
  const name = text(block.subarray(0, 100));
  const isPosix = block.toString("latin1", 257, 263) === "ustar\0";
  const prefix = isPosix ? text(block.subarray(345, 500)) : "";
  return prefix === "" ? name : `${prefix}/${name}`;
}

/** Up to the first NUL. */
function text(field: Buffer): RawPath {
  const end = field.indexOf(0);
  return field.toString("latin1", 0, end < 0 ? field.length : end);
}

/** Records of "LENGTH KEY=VALUE\n", where LENGTH is that of the whole record in bytes. */
function parsePax(content: Buffer): Map<string, Buffer> {
  const records = new Map<string, Buffer>();
  for (let at = 0; at < content.length; ) {
    const digits = /^([0-9]{1,9}) /.exec(content.toString("latin1", at, at + 10))?.[1] ?? "";
    const end = at + Number(digits);
    const start = at + digits.length + 1;
    const equals = content.indexOf(0x3d, start);
    if (end > content.length || content[end - 1] !== 0x0a || equals < start || equals >= end) {
      throw invalid("has a bad extended header");
    }
    records.set(content.toString("utf8", start, equals), Buffer.from(content.subarray(equals + 1, end - 1)));
    at = end;
  }
  return records;
}

function paxSize(pax: ReadonlyMap<string, Buffer>): number | undefined {
  const size = paxNumber(pax, "size");
  if (size === undefined || (Number.isSafeInteger(size) && size >= 0)) return size;
  throw invalid("has an entry with a size that is none");
}

function paxNumber(pax: ReadonlyMap<string, Buffer>, key: string): number | undefined {
  const value = pax.get(key)?.toString("latin1");
  if (value === undefined) return undefined;
  if (!/^-?[0-9]{1,15}(\.[0-9]{0,15})?$/.test(value))
    throw invalid(`has ${key} in an extended header that is none`);
  return Number(value);
}

function checkedId(id: number): number {
  if (Number.isInteger(id) && id >= 0 && id < 2 ** 32 - 1) return id;
  throw invalid("has an owner that is none");
}

const XATTR = "SCHILY.xattr.";

function xattrsOf(pax: ReadonlyMap<string, Buffer>): Map<string, Buffer> {
  const found = [...pax].filter(([key]) => key.startsWith(XATTR));
  return new Map(found.map(([key, value]) => [key.slice(XATTR.length), value]));
}
