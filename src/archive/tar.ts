import { type Bytes, slice, Window } from "./bytes.ts";
import { ArchiveError } from "./errors.ts";

export type TarEntryType = "file" | "directory" | "symlink" | "hardlink" | "other";

export interface TarEntry {
  /** As in the archive, but without "./" before it and "/" after it. Not to be used as a path unchecked. */
  readonly name: string;
  readonly type: TarEntryType;
  /** Bytes of content; 0 for all but files. */
  readonly size: number;
  /** Where its content begins in the archive. */
  readonly offset: number;
  /** Permission bits. */
  readonly mode: number;
  /** Target of a link, "" otherwise. */
  readonly linkName: string;
}

/** What bounds the memory and the time that an archive can cost. */
export interface TarLimits {
  entries: number;
  /** Bytes of one extended header or long name. */
  header: number;
  /** Bytes of all names together. */
  names: number;
}

export const DEFAULT_TAR_LIMITS: TarLimits = {
  entries: 200_000,
  header: 1024 * 1024,
  names: 64 * 1024 * 1024,
};

const BLOCK = 512;

/**
 * The entries of an uncompressed tar, by name. Nothing is extracted, and of the contents nothing is read but what
 * is asked for.
 */
export class Tar {
  readonly bytes: Bytes;
  readonly #entries: ReadonlyMap<string, TarEntry>;

  constructor(bytes: Bytes, entries: ReadonlyMap<string, TarEntry>) {
    this.bytes = bytes;
    this.#entries = entries;
  }

  /** In the archive's order. */
  entries(): Iterable<TarEntry> {
    return this.#entries.values();
  }

  /** The entry of exactly this name. */
  find(name: string): TarEntry | undefined {
    return this.#entries.get(name);
  }

  /** The content of the file of exactly this name; undefined when there is none, or it is no file. */
  open(name: string): Bytes | undefined {
    const entry = this.find(name);
    if (entry?.type !== "file") return undefined;
    return slice(this.bytes, `${this.bytes.name}: ${name}`, entry.offset, entry.size);
  }

  /** All of a small file. Errors: `missing`; `too-large` beyond `limit` bytes. */
  async read(name: string, limit: number): Promise<Buffer> {
    const content = this.open(name);
    if (!content) throw new ArchiveError("missing", `${this.bytes.name}: has no ${name}`);
    if (content.size > limit) {
      throw new ArchiveError("too-large", `${content.name}: ${content.size} bytes, more than ${limit}`);
    }
    return await content.read(0, content.size);
  }
}

/**
 * Reads the headers of a tar: ustar and v7, the long names and large numbers of GNU, and pax (POSIX.1-2001).
 *
 * Guarantees: one pass over the headers, each checked by its checksum; sizes beyond the file's end, a missing end
 * mark, two files of one name and sparse entries are errors, so that what is seen here is what any unpacker sees.
 * Errors: `ArchiveError`; the signal's reason.
 */
export async function readTar(
  bytes: Bytes,
  { limits = DEFAULT_TAR_LIMITS, signal }: { limits?: TarLimits; signal?: AbortSignal } = {},
): Promise<Tar> {
  const { name: file, size: fileSize } = bytes;
  const window = new Window(bytes, 32 * BLOCK);
  const entries = new Map<string, TarEntry>();
  const fail = (what: string): never => {
    throw new ArchiveError("malformed", `${file}: ${what}`);
  };
  let next: Overrides = {};
  let nameBytes = 0;
  let headers = 0;

  for (let at = 0; ; ) {
    signal?.throwIfAborted();
    if (at + BLOCK > fileSize) {
      if (at === 0 && fileSize > 0) fail("not a tar archive");
      throw new ArchiveError("truncated", `${file}: ends without a tar's end mark, at byte ${fileSize}`);
    }
    const block = await window.read(at, BLOCK);
    if (block.every((byte) => byte === 0)) return new Tar(bytes, entries);
    headers += 1;
    if (headers > 3 * limits.entries) {
      throw new ArchiveError("too-large", `${file}: more than ${limits.entries} entries`);
    }
    if (!checksumHolds(block)) fail(at === 0 ? "not a tar archive" : `no tar header at byte ${at}`);
    const flag = String.fromCharCode(block[156]!);
    const type = TYPES[flag] ?? "other";
    const extension = EXTENSIONS.has(flag);
    const size = (!extension ? next.size : undefined) ?? numberAt(block, 124, 12);
    if (size === undefined) return fail(`a size that is none, at byte ${at}`);
    const offset = at + BLOCK;
    if (size > fileSize - offset) {
      const missing = offset + size - fileSize;
      throw new ArchiveError("truncated", `${file}: ${missing} bytes of the entry at byte ${at} are missing`);
    }
    at = offset + Math.ceil(size / BLOCK) * BLOCK;

    if (extension) {
      if (size > limits.header)
        throw new ArchiveError("too-large", `${file}: an extended header of ${size} bytes`);
      const content = await window.read(offset, size);
      if (flag === "x")
        next = { ...next, ...(parsePax(content) ?? fail(`a bad extended header at byte ${offset}`)) };
      if (flag === "L") next.name = text(content);
      if (flag === "K") next.linkName = text(content);
      continue;
    }
    const rawName = next.name ?? ustarName(block);
    const isDirectory = type === "directory" || (flag === "\0" && rawName.endsWith("/"));
    const name = rawName.replace(/^(?:\.\/+)+/, "").replace(/\/+$/, "");
    if (flag === "S" || next.sparse) {
      throw new ArchiveError("unsupported", `${file}: ${JSON.stringify(name)} is a sparse entry`);
    }
    const entry: TarEntry = {
      name,
      type: isDirectory ? "directory" : type,
      size,
      offset,
      mode: (numberAt(block, 100, 8) ?? 0) & 0o7777,
      linkName: next.linkName ?? text(block.subarray(157, 257)),
    };
    next = {};
    if (size > 0 && (isDirectory || WITHOUT_CONTENT.has(flag))) {
      fail(`${JSON.stringify(name.slice(0, 200))} is no file, but has a size`);
    }
    if (entries.has(name) && !(isDirectory && entries.get(name)!.type === "directory")) {
      fail(`two entries of the name ${JSON.stringify(name.slice(0, 200))}`);
    }
    nameBytes += name.length + entry.linkName.length;
    entries.set(name, entry);
    if (entries.size > limits.entries || nameBytes > limits.names) {
      throw new ArchiveError("too-large", `${file}: more entries or longer names than are read`);
    }
  }
}

/** What extended headers say about the entry that follows. */
interface Overrides {
  name?: string;
  linkName?: string;
  size?: number;
  sparse?: boolean;
}

const TYPES: Readonly<Record<string, TarEntryType>> = {
  "\0": "file",
  "0": "file",
  "7": "file",
  "1": "hardlink",
  "2": "symlink",
  "5": "directory",
};
/** pax for the next entry and for all; GNU's long name and long link name. */
const EXTENSIONS: ReadonlySet<string> = new Set(["x", "g", "L", "K"]);
/** Links, devices, directories, pipes. Unpackers do not agree on what follows when their size is not 0. */
const WITHOUT_CONTENT: ReadonlySet<string> = new Set(["1", "2", "3", "4", "5", "6"]);

/** The sum of all bytes, with the checksum's own eight as spaces. Old tars summed signed bytes. */
function checksumHolds(block: Buffer): boolean {
  const stored = numberAt(block, 148, 8);
  let unsigned = 8 * 0x20;
  let signed = unsigned;
  for (const [index, byte] of block.entries()) {
    if (index >= 148 && index < 156) continue;
    unsigned += byte;
    signed += byte < 0x80 ? byte : byte - 0x100;
  }
  return stored === unsigned || stored === signed;
}

/** Octal digits, or with the first bit set a big-endian number (GNU). Undefined when neither, or below zero. */
function numberAt(block: Buffer, offset: number, length: number): number | undefined {
  const field = block.subarray(offset, offset + length);
  if (field[0]! & 0x80) {
    if (field[0] !== 0x80) return undefined;
    let value = 0;
    for (const byte of field.subarray(1)) value = value * 256 + byte;
    return Number.isSafeInteger(value) ? value : undefined;
  }
  const digits = /^[ \0]*([0-7]*)[ \0]*$/.exec(field.toString("latin1"))?.[1];
  return digits === undefined ? undefined : digits === "" ? 0 : Number.parseInt(digits, 8);
}

/** The name field, and before it the prefix of POSIX's header (GNU's has other things in that place). */
function ustarName(block: Buffer): string {
  const name = text(block.subarray(0, 100));
  const posix = block.toString("latin1", 257, 265) === "ustar\x0000";
  const prefix = posix ? text(block.subarray(345, 500)) : "";
  return prefix === "" ? name : `${prefix}/${name}`;
}

/** UTF-8 up to the first NUL. */
function text(field: Buffer): string {
  const end = field.indexOf(0);
  return field.toString("utf8", 0, end < 0 ? field.length : end);
}

/** Records of "LENGTH KEY=VALUE\n", where LENGTH is that of the whole record in bytes. Undefined when it is not so. */
function parsePax(content: Buffer): Overrides | undefined {
  const overrides: Overrides = {};
  for (let at = 0; at < content.length; ) {
    const digits = /^([0-9]{1,9}) /.exec(content.toString("latin1", at, at + 10))?.[1];
    if (digits === undefined) return undefined;
    const end = at + Number(digits);
    const start = at + digits.length + 1;
    const equals = content.indexOf(0x3d, start);
    if (end > content.length || content[end - 1] !== 0x0a || equals < start || equals >= end)
      return undefined;
    const key = content.toString("utf8", start, equals);
    const value = content.toString("utf8", equals + 1, end - 1);
    if (key === "path") overrides.name = value;
    if (key === "linkpath") overrides.linkName = value;
    if (key.startsWith("GNU.sparse.")) overrides.sparse = true;
    if (key === "size") {
      if (!/^[0-9]{1,15}$/.test(value)) return undefined;
      overrides.size = Number(value);
    }
    at = end;
  }
  return overrides;
}
