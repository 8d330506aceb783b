import type { Bytes } from "./bytes.ts";
import { unpacked } from "./compression.ts";
import { StreamedBytes } from "./streamed.ts";
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
  const open = () => ({ position: 0, chunks: unpacked(packed, signal) });
  const streamed = new StreamedBytes({ name: packed.name, size, open, skipBytes: Number.POSITIVE_INFINITY });
  const bytes = new UnpackedBytes(streamed, kept);
  return Object.assign(new Tar(bytes, entries), { [Symbol.asyncDispose]: () => bytes.close() });
}

interface Kept {
  offset: number;
  bytes: Buffer;
}

/** A stream of which small pieces are kept. */
class UnpackedBytes implements Bytes {
  readonly name: string;
  readonly size: number;
  readonly #streamed: StreamedBytes;
  /** By their offsets. */
  readonly #kept: readonly Kept[];

  constructor(streamed: StreamedBytes, kept: readonly Kept[]) {
    this.name = streamed.name;
    this.size = streamed.size;
    this.#streamed = streamed;
    this.#kept = kept;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const kept = this.#keptAt(offset, length);
    return kept === undefined ? await this.#streamed.read(offset, length) : Buffer.from(kept);
  }

  async readInto(offset: number, target: Buffer): Promise<void> {
    const kept = this.#keptAt(offset, target.length);
    if (kept === undefined) await this.#streamed.readInto(offset, target);
    else target.set(kept);
  }

  close(): Promise<void> {
    return this.#streamed.close();
  }

  #keptAt(offset: number, length: number): Buffer | undefined {
    let low = 0;
    let high = this.#kept.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#kept[middle]!.offset <= offset) low = middle + 1;
      else high = middle;
    }
    const kept = this.#kept[low - 1];
    if (kept === undefined) return undefined;
    const at = offset - kept.offset;
    return at + length <= kept.bytes.length ? kept.bytes.subarray(at, at + length) : undefined;
  }
}
