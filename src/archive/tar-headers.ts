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
  readonly uid: number;
  readonly gid: number;
  /** When its content was last changed, in whole seconds since 1970. */
  readonly mtime: number;
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

/** Headers and contents begin at multiples of this. */
export const BLOCK = 512;

/** Bytes that content of that size takes in a tar. */
export const padded = (size: number): number => Math.ceil(size / BLOCK) * BLOCK;

/** What a header says comes next. */
export type Step =
  | { type: "end" }
  /** So many bytes that belong to the next header: they are to be given to `extend`. */
  | { type: "extension"; size: number }
  | { type: "entry"; size: number; entry: TarEntry };

/**
 * Makes entries of a tar's headers, one block after the other, whoever reads them and wherever from: ustar and v7,
 * the long names and large numbers of GNU, and pax (POSIX.1-2001).
 *
 * Guarantees: each header is checked by its checksum; two files of one name and sparse entries are errors, so that
 * what is seen here is what any unpacker sees; memory stays within the limits.
 * Errors: `ArchiveError`.
 */
export class TarHeaders {
  readonly #file: string;
  readonly #limits: TarLimits;
  readonly #entries = new Map<string, TarEntry>();
  #next: Overrides = {};
  #extension = "";
  #headers = 0;
  #nameBytes = 0;

  /** `file` is for messages. */
  constructor(file: string, limits: TarLimits = DEFAULT_TAR_LIMITS) {
    this.#file = file;
    this.#limits = limits;
  }

  /** Those so far, by name, in the archive's order. */
  get entries(): ReadonlyMap<string, TarEntry> {
    return this.#entries;
  }

  /** Takes the header that stands at byte `at`. */
  take(block: Buffer, at: number): Step {
    if (block.every((byte) => byte === 0)) return { type: "end" };
    this.#headers += 1;
    if (this.#headers > 3 * this.#limits.entries) {
      throw new ArchiveError("too-large", `${this.#file}: more than ${this.#limits.entries} entries`);
    }
    if (!checksumHolds(block)) this.#fail(at === 0 ? "not a tar archive" : `no tar header at byte ${at}`);
    const flag = String.fromCharCode(block[156]!);
    const isExtension = EXTENSIONS.has(flag);
    const size = (!isExtension ? this.#next.size : undefined) ?? numberAt(block, 124, 12);
    if (size === undefined) return this.#fail(`a size that is none, at byte ${at}`);
    if (!isExtension) return { type: "entry", size, entry: this.#entry(block, flag, size, at + BLOCK) };
    if (size > this.#limits.header) {
      throw new ArchiveError("too-large", `${this.#file}: an extended header of ${size} bytes`);
    }
    this.#extension = flag;
    return { type: "extension", size };
  }

  /** Takes the content of the extension that `take` has just met. */
  extend(content: Buffer): void {
    switch (this.#extension) {
      case "x":
        this.#next = { ...this.#next, ...(parsePax(content) ?? this.#fail("a bad extended header")) };
        return;
      case "L":
        this.#next.name = text(content);
        return;
      case "K":
        this.#next.linkName = text(content);
    }
  }

  #entry(block: Buffer, flag: string, size: number, offset: number): TarEntry {
    const type = TYPES[flag] ?? "other";
    const rawName = this.#next.name ?? ustarName(block);
    const isDirectory = type === "directory" || (flag === "\0" && rawName.endsWith("/"));
    const name = withoutEndSlashes(withoutDots(rawName));
    const shown = JSON.stringify(name.slice(0, 200));
    if (flag === "S" || this.#next.sparse) {
      throw new ArchiveError("unsupported", `${this.#file}: ${shown} is a sparse entry`);
    }
    const entry: TarEntry = {
      name,
      type: isDirectory ? "directory" : type,
      size,
      offset,
      mode: (numberAt(block, 100, 8) ?? 0) & 0o7777,
      uid: this.#next.uid ?? numberAt(block, 108, 8) ?? 0,
      gid: this.#next.gid ?? numberAt(block, 116, 8) ?? 0,
      mtime: this.#next.mtime ?? numberAt(block, 136, 12) ?? 0,
      linkName: this.#next.linkName ?? text(block.subarray(157, 257)),
    };
    this.#next = {};
    if (size > 0 && (isDirectory || WITHOUT_CONTENT.has(flag))) {
      this.#fail(`${shown} is no file, but has a size`);
    }
    if (this.#entries.has(name) && !(isDirectory && this.#entries.get(name)!.type === "directory")) {
      this.#fail(`two entries of the name ${shown}`);
    }
    this.#nameBytes += name.length + entry.linkName.length;
    this.#entries.set(name, entry);
    if (this.#entries.size > this.#limits.entries || this.#nameBytes > this.#limits.names) {
      throw new ArchiveError("too-large", `${this.#file}: more entries or longer names than are read`);
    }
    return entry;
  }

  #fail(what: string): never {
    throw new ArchiveError("malformed", `${this.#file}: ${what}`);
  }
}

/** What extended headers say about the entry that follows. */
interface Overrides {
  name?: string;
  linkName?: string;
  size?: number;
  uid?: number;
  gid?: number;
  mtime?: number;
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

/*
 * Not by expressions: over a hostile name of a mebibyte their time grows with its square, and over a longer one their
 * stack does not suffice.
 */

/** Without "./" before it, however often. */
function withoutDots(name: string): string {
  let start = 0;
  while (name.startsWith("./", start)) {
    start += 2;
    while (name[start] === "/") start += 1;
  }
  return name.slice(start);
}

/** Without "/" behind it, however often. */
export function withoutEndSlashes(name: string): string {
  let end = name.length;
  while (end > 0 && name[end - 1] === "/") end -= 1;
  return name.slice(0, end);
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
    if (key === "size" || key === "uid" || key === "gid") {
      if (!/^[0-9]{1,15}$/.test(value)) return undefined;
      overrides[key] = Number(value);
    }
    // With a fraction, and before 1970 below zero.
    if (key === "mtime")
      overrides.mtime = Math.floor(Number(/^-?[0-9]{1,12}(?:\.[0-9]*)?$/.exec(value)?.[0] ?? 0));
    at = end;
  }
  return overrides;
}
