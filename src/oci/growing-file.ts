import { type FileHandle, open } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { type BlobSource, SourceChangedError } from "./source.ts";

/** As of a whole file's reading; see `FileSource`. */
const CHUNK_BYTES = 256 * 1024;
const BUFFERS = 3;
/** How often to look whether there is more, in milliseconds. */
const LOOK_MS = 5;

/**
 * A file that another process still appends to. Readings follow it, and end when `end` has said that it is whole.
 *
 * Assumptions: what was written once is not written over; a file that is whole and has another size than was said
 * is found out.
 * Errors: readings throw what `fail` was given, and `SourceChangedError` for a file that is not as long as `end` said.
 */
export class GrowingFile implements BlobSource {
  readonly path: string;
  readonly #file: FileHandle;
  #size = Number.POSITIVE_INFINITY;
  #failure: { error: unknown } | undefined;

  private constructor(path: string, file: FileHandle) {
    this.path = path;
    this.#file = file;
  }

  static async open(path: string): Promise<GrowingFile> {
    const file = await open(path, "r");
    if ((await file.stat()).isFile()) return new GrowingFile(path, file);
    await file.close();
    throw new Error(`${path}: not a file`);
  }

  /** In bytes; infinite until the file is whole. */
  get size(): number {
    return this.#size;
  }

  /** The file is whole. */
  end(size: number): void {
    this.#size = size;
  }

  /** The file will never be whole. */
  fail(error: unknown): void {
    this.#failure ??= { error };
  }

  async *read(offset: number): AsyncGenerator<Uint8Array> {
    const buffers = Array.from({ length: BUFFERS }, () => Buffer.allocUnsafeSlow(CHUNK_BYTES));
    let at = offset;
    let turn = 0;
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure.error;
      // Before the reading: what is read after a file became whole is all of it.
      const size = this.#size;
      if (at >= size) return await this.assertSize();
      const chunk = buffers[turn % BUFFERS]!;
      const { bytesRead } = await this.#file.read(chunk, 0, Math.min(chunk.length, size - at), at);
      if (bytesRead > 0) {
        at += bytesRead;
        turn += 1;
        yield chunk.subarray(0, bytesRead);
      } else if (Number.isFinite(size)) {
        throw new SourceChangedError(this.path, "it became shorter");
      } else {
        await pause(LOOK_MS);
      }
    }
  }

  private async assertSize(): Promise<void> {
    const { size } = await this.#file.stat();
    if (size !== this.#size) throw new SourceChangedError(this.path, "size");
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
