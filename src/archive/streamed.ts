import type { Bytes } from "./bytes.ts";
import { ArchiveError } from "./errors.ts";

/** Where a stream of bytes has begun, which may be before the place that was asked for, and what comes from there. */
export interface Opened {
  position: number;
  chunks: AsyncIterable<Uint8Array>;
}

export interface StreamedOptions {
  /** For messages. */
  name: string;
  /** In bytes. */
  size: number;
  /** Gives the bytes from a place on, or from a place before it. */
  open(offset: number): Opened | Promise<Opened>;
  /** How far ahead it is cheaper to read on than to open anew. */
  skipBytes: number;
}

/**
 * Bytes that come as a stream, read at any place: cheap in their order, a new stream for each step back or far ahead.
 * Holds no more than the stream's piece in hand; one reads at a time, others wait.
 *
 * Errors: `ArchiveError` `truncated` when the stream is shorter than `size`; the stream's own.
 */
export class StreamedBytes implements Bytes {
  readonly name: string;
  readonly size: number;
  readonly #options: StreamedOptions;
  #chunks: AsyncIterator<Uint8Array> | undefined;
  /** What comes next of the stream, and where that is. */
  #chunk: Uint8Array = new Uint8Array(0);
  #position = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: StreamedOptions) {
    this.name = options.name;
    this.size = options.size;
    this.#options = options;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    this.#assertRange(offset, length);
    const target = Buffer.allocUnsafe(length);
    await this.readInto(offset, target);
    return target;
  }

  async readInto(offset: number, target: Buffer): Promise<void> {
    this.#assertRange(offset, target.length);
    const reading = this.#last.then(() => this.#fill(offset, target));
    this.#last = reading.catch(() => {});
    await reading;
  }

  /** Lets go of the stream. */
  async close(): Promise<void> {
    await this.#last;
    await this.#stop();
  }

  async #fill(offset: number, target: Buffer): Promise<void> {
    if (target.length === 0) return;
    try {
      const ahead = offset - this.#position;
      if (this.#chunks === undefined || ahead < 0 || ahead > this.#options.skipBytes) {
        await this.#stop();
        const { position, chunks } = await this.#options.open(offset);
        this.#chunks = chunks[Symbol.asyncIterator]();
        this.#position = position;
      }
      while (this.#position < offset) await this.#take(offset - this.#position);
      for (let got = 0; got < target.length; ) {
        const piece = await this.#take(target.length - got);
        target.set(piece, got);
        got += piece.length;
      }
    } catch (error) {
      await this.#stop();
      throw error;
    }
  }

  /** At most so many bytes of what comes next. */
  async #take(length: number): Promise<Uint8Array> {
    while (this.#chunk.length === 0) {
      const { value, done } = await this.#chunks!.next();
      if (done) throw new ArchiveError("truncated", `${this.name}: ends at byte ${this.#position}`);
      this.#chunk = value;
    }
    const piece = this.#chunk.subarray(0, length);
    this.#chunk = this.#chunk.subarray(piece.length);
    this.#position += piece.length;
    return piece;
  }

  async #stop(): Promise<void> {
    const chunks = this.#chunks;
    this.#chunks = undefined;
    this.#chunk = new Uint8Array(0);
    this.#position = 0;
    await chunks?.return?.();
  }

  #assertRange(offset: number, length: number): void {
    if (offset < 0 || length < 0 || offset + length > this.size) {
      throw new ArchiveError("truncated", `${this.name}: ends before byte ${offset + length}`);
    }
  }
}
