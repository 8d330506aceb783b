import { type Bytes, slice, Window } from "./bytes.ts";
import { ArchiveError } from "./errors.ts";
import {
  BLOCK,
  DEFAULT_TAR_LIMITS,
  padded,
  type TarEntry,
  TarHeaders,
  type TarLimits,
} from "./tar-headers.ts";

export { DEFAULT_TAR_LIMITS, type TarEntry, type TarEntryType, type TarLimits } from "./tar-headers.ts";

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
 * Reads the headers of a tar: see {@link TarHeaders} for what is understood and what is refused.
 *
 * Guarantees: one pass over the headers; sizes beyond the file's end and a missing end mark are errors.
 * Errors: `ArchiveError`; the signal's reason.
 */
export async function readTar(
  bytes: Bytes,
  { limits = DEFAULT_TAR_LIMITS, signal }: { limits?: TarLimits; signal?: AbortSignal } = {},
): Promise<Tar> {
  const { name: file, size: fileSize } = bytes;
  const window = new Window(bytes, 32 * BLOCK);
  const headers = new TarHeaders(file, limits);
  for (let at = 0; ; ) {
    signal?.throwIfAborted();
    if (at + BLOCK > fileSize) {
      if (at === 0 && fileSize > 0) throw new ArchiveError("malformed", `${file}: not a tar archive`);
      throw new ArchiveError("truncated", `${file}: ends without a tar's end mark, at byte ${fileSize}`);
    }
    const step = headers.take(await window.read(at, BLOCK), at);
    if (step.type === "end") return new Tar(bytes, headers.entries);
    const offset = at + BLOCK;
    if (step.size > fileSize - offset) {
      const missing = offset + step.size - fileSize;
      throw new ArchiveError("truncated", `${file}: ${missing} bytes of the entry at byte ${at} are missing`);
    }
    if (step.type === "extension") headers.extend(await window.read(offset, step.size));
    at = offset + padded(step.size);
  }
}
