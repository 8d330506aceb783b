import { type FileHandle, open } from "node:fs/promises";

/** Bytes that can be read more than once, from any offset, and are the same each time. */
export interface BlobSource {
  /** In bytes; infinite while it is not known yet, which is over when a reading has come to its end. */
  readonly size: number;
  /** The bytes from `offset` to the end. A chunk may be overwritten once two more have been asked for. */
  read(offset: number): AsyncIterable<Uint8Array>;
}

export function bytesSource(bytes: Uint8Array): BlobSource {
  return {
    size: bytes.length,
    async *read(offset) {
      if (offset < bytes.length) yield bytes.subarray(offset);
    },
  };
}

/** The file changed while it was being read; what was read is of no use. */
export class SourceChangedError extends Error {
  readonly path: string;

  constructor(path: string, how: string) {
    super(`${path}: changed while it was read (${how})`);
    this.name = "SourceChangedError";
    this.path = path;
  }
}

/** Large enough that hashing and the network are what counts. */
const CHUNK_BYTES = 256 * 1024;
/**
 * The buffers of one reading, used in turn: new ones would be thrown away faster than memory is collected. An HTTP
 * client asks for the next chunk when the socket has taken the last one; so three leave room, and should it ever
 * not wait, the digest given at the end would not be that of the bytes sent.
 */
const BUFFERS = 3;

/**
 * A file as it was when it was opened. Closed by `await using` or `close()`.
 *
 * Errors: reading throws `SourceChangedError` when size or modification time are not what they were:
 * looked at when a reading starts and again before its last chunk is given out.
 */
export class FileSource implements BlobSource {
  readonly path: string;
  readonly size: number;
  readonly #file: FileHandle;
  readonly #opened: FileState;

  private constructor(path: string, file: FileHandle, opened: FileState) {
    this.path = path;
    this.size = Number(opened.size);
    this.#file = file;
    this.#opened = opened;
  }

  static async open(path: string): Promise<FileSource> {
    const file = await open(path, "r");
    try {
      const opened = await file.stat({ bigint: true });
      if (!opened.isFile()) throw new Error(`${path}: not a file`);
      return new FileSource(path, file, opened);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async *read(offset: number): AsyncGenerator<Uint8Array> {
    await this.assertUnchanged();
    const buffers = Array.from({ length: BUFFERS }, () => Buffer.allocUnsafeSlow(CHUNK_BYTES));
    let at = offset;
    for (let turn = 0; at < this.size; turn += 1) {
      const chunk = buffers[turn % BUFFERS]!;
      const { bytesRead } = await this.#file.read(chunk, 0, Math.min(chunk.length, this.size - at), at);
      if (bytesRead === 0) throw new SourceChangedError(this.path, "it became shorter");
      at += bytesRead;
      if (at >= this.size) await this.assertUnchanged();
      yield chunk.subarray(0, bytesRead);
    }
  }

  /** Errors: `SourceChangedError`. */
  async assertUnchanged(): Promise<void> {
    const now: FileState = await this.#file.stat({ bigint: true });
    for (const field of ["size", "mtimeNs"] as const) {
      if (now[field] !== this.#opened[field]) {
        throw new SourceChangedError(this.path, `${field === "size" ? "size" : "modification time"}`);
      }
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

interface FileState {
  size: bigint;
  mtimeNs: bigint;
}
