import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import type { FileHandle, open } from "node:fs/promises";
import { TransferError } from "./errors.ts";

/** Bytes that are written, or read back, at once. */
const BLOCK_BYTES = 1024 * 1024;
const MODE = 0o600;

/** What a file is to become. */
export interface Wanted {
  size: number;
  sha256: string;
}

/**
 * A file that arrives piece by piece, also of several tries and processes: what is on disk is gone on from.
 *
 * Guarantees: `seal` says true only of the content that was wanted, by its sha256, and when it is on disk.
 * Errors: those of the file system.
 */
export class Part implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #wanted: Wanted;
  #hash: Hash = createHash("sha256");
  #have = 0;

  private constructor(file: FileHandle, wanted: Wanted) {
    this.#file = file;
    this.#wanted = wanted;
  }

  /** The file at `path`, made if it is not there, and read as far as it is. */
  static async open(
    disk: { open: typeof open },
    path: string,
    wanted: Wanted,
    signal: AbortSignal,
  ): Promise<Part> {
    const { O_RDWR, O_CREAT, O_NOFOLLOW } = constants;
    const part = new Part(await disk.open(path, O_RDWR | O_CREAT | O_NOFOLLOW, MODE), wanted);
    try {
      await part.#readBack(signal);
      return part;
    } catch (error) {
      await part[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Bytes that are there, from the first on. */
  get have(): number {
    return this.#have;
  }

  /**
   * Writes what comes after the bytes that are there. What came before an error is kept.
   *
   * Errors: those of `chunks`; TransferError `protocol` for more bytes than there should be.
   */
  async append(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    // One is filled while the other is written.
    let [block, other] = [this.#newBlock(), this.#newBlock()];
    let filled = 0;
    let writing = Promise.resolve();
    const write = async (): Promise<void> => {
      await writing;
      writing = this.#write(block.subarray(0, filled));
      // Awaited before the next, or at the end.
      writing.catch(() => {});
      [block, other, filled] = [other, block, 0];
    };
    try {
      for await (const chunk of chunks) {
        for (let from = 0; from < chunk.length; ) {
          const part = chunk.subarray(from, from + block.length - filled);
          block.set(part, filled);
          filled += part.length;
          from += part.length;
          if (filled === block.length) await write();
        }
      }
    } finally {
      await write();
      await writing;
    }
  }

  /** Whether the file is what was wanted; one that is not is emptied. */
  async seal(): Promise<boolean> {
    const isRight =
      this.#have === this.#wanted.size && this.#hash.copy().digest("hex") === this.#wanted.sha256;
    if (isRight) await this.#file.sync();
    else await this.#empty();
    return isRight;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }

  #newBlock(): Buffer {
    return Buffer.allocUnsafeSlow(Math.min(BLOCK_BYTES, this.#wanted.size + 1));
  }

  async #write(block: Buffer): Promise<void> {
    if (this.#have + block.length > this.#wanted.size) {
      throw new TransferError("protocol", `more than ${this.#wanted.size} bytes`);
    }
    const written = this.#writeAll(block);
    written.catch(() => {});
    this.#hash.update(block);
    await written;
    this.#have += block.length;
  }

  async #writeAll(block: Buffer): Promise<void> {
    for (let done = 0; done < block.length; ) {
      const at = this.#have + done;
      done += (await this.#file.write(block, done, block.length - done, at)).bytesWritten;
    }
  }

  async #readBack(signal: AbortSignal): Promise<void> {
    const { size } = await this.#file.stat();
    if (size > this.#wanted.size) await this.#empty();
    if (size === 0 || size > this.#wanted.size) return;
    const buffer = Buffer.allocUnsafe(Math.min(size, BLOCK_BYTES));
    for (;;) {
      signal.throwIfAborted();
      const { bytesRead } = await this.#file.read(buffer, 0, buffer.length, this.#have);
      if (bytesRead === 0) return;
      this.#hash.update(buffer.subarray(0, bytesRead));
      this.#have += bytesRead;
    }
  }

  async #empty(): Promise<void> {
    await this.#file.truncate(0);
    this.#hash = createHash("sha256");
    this.#have = 0;
  }
}
