import { type FileHandle, open } from "node:fs/promises";
import { ArchiveError } from "./errors.ts";

/** Bytes that can be read at any place: a file, a part of one, a buffer. */
export interface Bytes {
  /** For messages. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  /** Exactly these bytes, as a buffer of their own. Errors: `truncated` when there are not so many. */
  read(offset: number, length: number): Promise<Buffer>;
  /** The same into memory that is there already: as many bytes as it has. */
  readInto?(offset: number, target: Buffer): Promise<void>;
}

/** Reads into memory that is there already, as directly as the bytes can. Errors: as of `Bytes.read`. */
export async function readInto(bytes: Bytes, offset: number, target: Buffer): Promise<void> {
  if (bytes.readInto) await bytes.readInto(offset, target);
  else target.set(await bytes.read(offset, target.length));
}

export function bufferBytes(name: string, buffer: Uint8Array): Bytes {
  return {
    name,
    size: buffer.length,
    async read(offset, length) {
      assertRange(this, offset, length);
      return Buffer.from(buffer.subarray(offset, offset + length));
    },
  };
}

/** A part of other bytes. Errors: `truncated` when it reaches past their end. */
export function slice(bytes: Bytes, name: string, start: number, size: number): Bytes {
  assertRange(bytes, start, size);
  return {
    name,
    size,
    async read(offset, length) {
      assertRange(this, offset, length);
      return await bytes.read(start + offset, length);
    },
    async readInto(offset, target) {
      assertRange(this, offset, target.length);
      await readInto(bytes, start + offset, target);
    },
  };
}

/** An open file. Closed by `await using` or `close()`. */
export class FileBytes implements Bytes {
  readonly name: string;
  readonly size: number;
  readonly #file: FileHandle;

  private constructor(name: string, size: number, file: FileHandle) {
    this.name = name;
    this.size = size;
    this.#file = file;
  }

  /** Errors: those of the file system; `unsupported` for what is no regular file. */
  static async open(path: string): Promise<FileBytes> {
    const file = await open(path, "r");
    try {
      const stats = await file.stat();
      if (!stats.isFile()) throw new ArchiveError("unsupported", `${path}: not a regular file`);
      return new FileBytes(path, stats.size, file);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async read(offset: number, length: number): Promise<Buffer> {
    assertRange(this, offset, length);
    const buffer = Buffer.allocUnsafe(length);
    await this.readInto(offset, buffer);
    return buffer;
  }

  async readInto(offset: number, target: Buffer): Promise<void> {
    const { length } = target;
    assertRange(this, offset, length);
    for (let got = 0; got < length; ) {
      const { bytesRead } = await this.#file.read(target, got, length - got, offset + got);
      // It has become shorter since it was opened.
      if (bytesRead === 0) throw truncated(this.name, offset, length);
      got += bytesRead;
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Reads small pieces that lie close together with few reads. */
export class Window {
  readonly #bytes: Bytes;
  readonly #length: number;
  #start = 0;
  #buffer: Buffer = Buffer.alloc(0);

  constructor(bytes: Bytes, length = 64 * 1024) {
    this.#bytes = bytes;
    this.#length = length;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const at = offset - this.#start;
    if (at >= 0 && at + length <= this.#buffer.length) return this.#buffer.subarray(at, at + length);
    if (length > this.#length) return await this.#bytes.read(offset, length);
    const ahead = Math.min(this.#length, this.#bytes.size - offset);
    this.#buffer = await this.#bytes.read(offset, Math.max(ahead, length));
    this.#start = offset;
    return this.#buffer.subarray(0, length);
  }
}

function assertRange({ name, size }: Bytes, offset: number, length: number): void {
  if (offset < 0 || length < 0 || offset + length > size) throw truncated(name, offset, length);
}

function truncated(name: string, offset: number, length: number): ArchiveError {
  return new ArchiveError("truncated", `${name}: ends before byte ${offset + length}`);
}
