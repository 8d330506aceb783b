import type { Bytes } from "./bytes.ts";
import { unpacked } from "./compression.ts";
import { ArchiveError } from "./errors.ts";
import { Tar, type TarEntry } from "./tar.ts";
import { walkTar } from "./tar-walk.ts";

/** What is kept of a compressed archive: entries up to this size, and so much of them together. */
const KEPT_ENTRY_BYTES = 1024 * 1024;
const KEPT_BYTES = 48 * 1024 * 1024;

/**
 * A tar that is compressed with gzip or zstd, as if it were not.
 *
 * Guarantees: nothing is written to disk; memory does not grow with the archive. One pass over it finds its entries
 * and keeps small ones; what is asked for of others is unpacked again, in one more pass for as long as it is read in
 * the archive's order.
 * Errors: `ArchiveError`; the signal's reason.
 */
export async function unpackTar(packed: Bytes, signal?: AbortSignal): Promise<Tar & AsyncDisposable> {
  const entries = new Map<string, TarEntry>();
  const kept: Kept[] = [];
  let keptBytes = 0;
  let size = 0;
  const onBytes = (bytes: Uint8Array) => {
    size += bytes.length;
  };
  for await (const entry of walkTar(packed.name, unpacked(packed, signal), { signal, onBytes })) {
    const { content, ...header } = entry;
    entries.set(header.name, header);
    const isSmall = header.size <= KEPT_ENTRY_BYTES && keptBytes + header.size <= KEPT_BYTES;
    if (header.type !== "file" || header.size === 0 || !isSmall) continue;
    kept.push({ offset: header.offset, bytes: Buffer.concat(await Array.fromAsync(content())) });
    keptBytes += header.size;
  }
  const bytes = new UnpackedBytes(packed, { size, kept, signal });
  return Object.assign(new Tar(bytes, entries), { [Symbol.asyncDispose]: () => bytes.close() });
}

interface Kept {
  offset: number;
  bytes: Buffer;
}

/** The bytes of a stream at any place: cheap where they are kept, or lie behind those that were read last. */
class UnpackedBytes implements Bytes {
  readonly name: string;
  readonly size: number;
  readonly #packed: Bytes;
  /** By their offsets. */
  readonly #kept: readonly Kept[];
  readonly #signal: AbortSignal | undefined;
  #stream: AsyncIterator<Buffer> | undefined;
  /** What comes next of the stream, and where that is. */
  #chunk: Buffer = Buffer.alloc(0);
  #position = 0;
  /** One reads at a time. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    packed: Bytes,
    { size, kept, signal }: { size: number; kept: readonly Kept[]; signal: AbortSignal | undefined },
  ) {
    this.name = packed.name;
    this.size = size;
    this.#packed = packed;
    this.#kept = kept;
    this.#signal = signal;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const target = Buffer.allocUnsafe(length);
    await this.readInto(offset, target);
    return target;
  }

  async readInto(offset: number, target: Buffer): Promise<void> {
    if (offset < 0 || offset + target.length > this.size) {
      throw new ArchiveError("truncated", `${this.name}: ends before byte ${offset + target.length}`);
    }
    const { offset: start, bytes } = this.#keptAt(offset) ?? { offset: 0, bytes: Buffer.alloc(0) };
    if (offset + target.length <= start + bytes.length) {
      bytes.copy(target, 0, offset - start);
      return;
    }
    const reading = this.#last.then(() => this.#unpack(offset, target));
    this.#last = reading.catch(() => {});
    await reading;
  }

  async close(): Promise<void> {
    await this.#last;
    await this.#stop();
  }

  async #unpack(offset: number, target: Buffer): Promise<void> {
    if (offset < this.#position) await this.#stop();
    try {
      await this.#skip(offset - this.#position);
      for (let got = 0; got < target.length; ) {
        const piece = (await this.#next()).subarray(0, target.length - got);
        target.set(piece, got);
        got += piece.length;
        this.#take(piece.length);
      }
    } catch (error) {
      await this.#stop();
      throw error;
    }
  }

  async #skip(length: number): Promise<void> {
    for (let left = length; left > 0; ) {
      const skipped = Math.min(left, (await this.#next()).length);
      this.#take(skipped);
      left -= skipped;
    }
  }

  #take(length: number): void {
    this.#chunk = this.#chunk.subarray(length);
    this.#position += length;
  }

  async #next(): Promise<Buffer> {
    this.#stream ??= unpacked(this.#packed, this.#signal);
    while (this.#chunk.length === 0) {
      const { value, done } = await this.#stream.next();
      // It was as long as `size` when it was read first.
      if (done) throw new ArchiveError("truncated", `${this.name}: is shorter than it was`);
      this.#chunk = value;
    }
    return this.#chunk;
  }

  async #stop(): Promise<void> {
    await this.#stream?.return?.();
    this.#stream = undefined;
    this.#chunk = Buffer.alloc(0);
    this.#position = 0;
  }

  #keptAt(offset: number): Kept | undefined {
    let low = 0;
    let high = this.#kept.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#kept[middle]!.offset <= offset) low = middle + 1;
      else high = middle;
    }
    return this.#kept[low - 1];
  }
}
