import type { Range } from "./connection.ts";

/** What is fetched at once, and how many of these are kept: 16 MiB. */
const BLOCK_BYTES = 256 * 1024;
const BLOCKS = 64;

/**
 * Small reads of what is far away: each fetches the blocks around it, which stay for the next. Reads of more than a few
 * blocks pass by.
 */
export class BlockCache {
  readonly #size: number;
  readonly #fetch: (range: Range) => Promise<Buffer>;
  readonly #blocks = new Map<number, Promise<Buffer>>();

  constructor(size: number, fetch: (range: Range) => Promise<Buffer>) {
    this.#size = size;
    this.#fetch = fetch;
  }

  /** Exactly these bytes, which there must be, as a buffer of their own. Errors: those of `fetch`. */
  async read(offset: number, length: number): Promise<Buffer> {
    const end = offset + length;
    if (length > 4 * BLOCK_BYTES) return await this.#fetch({ from: offset, end });
    const parts: Buffer[] = [];
    for (let at = offset; at < end; ) {
      const number = Math.floor(at / BLOCK_BYTES);
      const start = number * BLOCK_BYTES;
      const part = (await this.#block(number)).subarray(at - start, end - start);
      parts.push(part);
      at += part.length;
    }
    return Buffer.concat(parts);
  }

  #block(number: number): Promise<Buffer> {
    const from = number * BLOCK_BYTES;
    const block =
      this.#blocks.get(number) ?? this.#fetch({ from, end: Math.min(from + BLOCK_BYTES, this.#size) });
    this.#blocks.delete(number);
    this.#blocks.set(number, block);
    block.catch(() => this.#blocks.delete(number));
    const [oldest] = this.#blocks.keys();
    if (this.#blocks.size > BLOCKS && oldest !== undefined) this.#blocks.delete(oldest);
    return block;
  }
}
