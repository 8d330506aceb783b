import { ArchiveError } from "./errors.ts";
import { BLOCK, padded, type TarEntry, TarHeaders, type TarLimits } from "./tar-headers.ts";

/** One entry of a tar that is read as it comes. */
export interface WalkedEntry extends TarEntry {
  /**
   * Its bytes, once. They are to be used before more are asked for; what is not read of them is passed over when
   * the next entry is asked for.
   */
  content(): AsyncIterable<Uint8Array>;
}

export interface WalkOptions {
  limits?: TarLimits;
  signal?: AbortSignal;
  /** A chunk may be overwritten once this has returned. */
  onBytes?: (bytes: Uint8Array) => void;
  onRest?: (bytes: Uint8Array) => Promise<void>;
  /** Of a tar that such contents were cut out of: whether the entry's is not there. Its padding is. */
  isCutOut?: (entry: TarEntry) => boolean;
}

/**
 * The entries of a tar that arrives as a stream, read to the stream's very end: see {@link TarHeaders} for what is
 * understood and what is refused. `onBytes` is shown every byte of the archive, in order; `onRest` is shown, in order
 * too, those that no `content()` has given, and waited for.
 *
 * Guarantees: one pass; nothing is held but the piece in hand and, for duplicates, the names.
 * Errors: `ArchiveError`: `truncated` when the stream ends before the tar does; the stream's own; the signal's
 * reason.
 */
export async function* walkTar(
  name: string,
  chunks: AsyncIterable<Uint8Array>,
  options: WalkOptions = {},
): AsyncGenerator<WalkedEntry, void, undefined> {
  const feed = new Feed(name, chunks, options);
  const headers = new TarHeaders(name, options.limits);
  try {
    for (;;) {
      const at = feed.position;
      const step = headers.take(await feed.read(BLOCK), at);
      if (step.type === "end") break;
      if (step.type === "extension") {
        headers.extend(await feed.read(step.size));
        await feed.skip(padded(step.size) - step.size);
        continue;
      }
      const { entry, size } = step;
      const start = feed.position;
      const end = start + (options.isCutOut?.(entry) ? 0 : size);
      yield { ...entry, content: () => feed.until(end) };
      await feed.skip(end - feed.position + padded(size) - size);
    }
    await feed.drain();
  } finally {
    await feed.close();
  }
}

/** A stream read in pieces of the size that is wanted. */
class Feed {
  readonly #name: string;
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #signal: AbortSignal | undefined;
  readonly #onBytes: WalkOptions["onBytes"];
  readonly #onRest: WalkOptions["onRest"];
  #chunk: Uint8Array = new Uint8Array(0);
  position = 0;

  constructor(name: string, chunks: AsyncIterable<Uint8Array>, { signal, onBytes, onRest }: WalkOptions) {
    this.#name = name;
    this.#chunks = chunks[Symbol.asyncIterator]();
    this.#signal = signal;
    this.#onBytes = onBytes;
    this.#onRest = onRest;
  }

  /** Exactly so many bytes, as a buffer of their own. */
  async read(length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(length);
    for (let got = 0; got < length; ) {
      const piece = await this.#take(length - got);
      buffer.set(piece, got);
      got += piece.length;
    }
    await this.#onRest?.(buffer);
    return buffer;
  }

  async *until(end: number): AsyncGenerator<Uint8Array, void, undefined> {
    while (this.position < end) yield await this.#take(end - this.position);
  }

  async skip(length: number): Promise<void> {
    for (let left = length; left > 0; ) {
      const piece = await this.#take(left);
      left -= piece.length;
      await this.#onRest?.(piece);
    }
  }

  /** Reads what follows the end mark. */
  async drain(): Promise<void> {
    do await this.#onRest?.(this.#chunk);
    while (await this.#pull());
  }

  /** Lets go of a stream that was not read to its end. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  /** At most so many bytes, without copying them. */
  async #take(length: number): Promise<Uint8Array> {
    while (this.#chunk.length === 0) {
      if (await this.#pull()) continue;
      throw new ArchiveError(
        "truncated",
        `${this.#name}: ends before the tar does, at byte ${this.position}`,
      );
    }
    const piece = this.#chunk.subarray(0, length);
    this.#chunk = this.#chunk.subarray(piece.length);
    this.position += piece.length;
    return piece;
  }

  /** Whether there was more. */
  async #pull(): Promise<boolean> {
    this.#signal?.throwIfAborted();
    const { value, done } = await this.#chunks.next();
    if (done) return false;
    this.#chunk = value;
    this.#onBytes?.(value);
    return true;
  }
}
