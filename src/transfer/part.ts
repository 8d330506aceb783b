import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
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
 * Guarantees: `seal` says true only when the file on disk, read back, has the content that was wanted.
 * Errors: those of the file system.
 */
export class Part implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #wanted: Wanted;
  #have: number;

  private constructor(file: FileHandle, wanted: Wanted, have: number) {
    this.#file = file;
    this.#wanted = wanted;
    this.#have = have;
  }

  /** The file at `path`, made if it is not there. */
  static async open(path: string, wanted: Wanted): Promise<Part> {
    const { O_RDWR, O_CREAT, O_NOFOLLOW } = constants;
    const file = await open(path, O_RDWR | O_CREAT | O_NOFOLLOW, MODE);
    try {
      const { size } = await file.stat();
      const part = new Part(file, wanted, size);
      if (size > wanted.size) await part.#empty();
      return part;
    } catch (error) {
      await file.close();
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
  async seal(signal: AbortSignal): Promise<boolean> {
    const synced = this.#file.sync();
    synced.catch(() => {});
    const isRight = this.#have === this.#wanted.size && (await this.#digest(signal)) === this.#wanted.sha256;
    await synced;
    if (!isRight) await this.#empty();
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
    for (let done = 0; done < block.length; ) {
      const { bytesWritten } = await this.#file.write(block, done, block.length - done, this.#have);
      done += bytesWritten;
      this.#have += bytesWritten;
    }
  }

  async #digest(signal: AbortSignal): Promise<string> {
    const hash = createHash("sha256");
    const buffer = this.#newBlock();
    for (let at = 0; ; ) {
      signal.throwIfAborted();
      const { bytesRead } = await this.#file.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) return hash.digest("hex");
      hash.update(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
  }

  async #empty(): Promise<void> {
    await this.#file.truncate(0);
    this.#have = 0;
  }
}
