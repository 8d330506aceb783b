import { type Bytes, readInto } from "./bytes.ts";
import type { Pagemap } from "./criu/pagemap.ts";

/** What one checkpoint holds of a process's memory. */
export interface PageLevel {
  map: Pagemap;
  /** Its pages file. */
  pages: Bytes;
}

/** A stretch of memory that one of the levels holds. */
interface Held {
  address: bigint;
  length: number;
  level: number;
  offset: number;
}

/** How much of a pages file is read at once, in bytes: pages that lie together are asked for one after another. */
const WINDOW_BYTES = 256 * 1024;

/**
 * The memory of a process as a checkpoint and those that it builds upon hold it: a page that is in the parent, by the
 * first level's map, is in the second level, or further up (images/pagemap.proto, criu/pagemap.c).
 *
 * Reading is fast in ascending order of addresses, of which the levels' offsets are too.
 */
export class PageChain {
  readonly #levels: readonly PageLevel[];
  readonly #windows: Window[];

  /** The newest first. */
  constructor(levels: readonly PageLevel[]) {
    this.#levels = levels;
    this.#windows = levels.map(({ pages }) => new Window(pages));
  }

  /**
   * Reads as many bytes as `target` has, from `address` on: whole pages. What no level holds is left as it is, and its
   * pages, counted from `address`, are not in `held`, which has one bit (0 or 1) a page.
   *
   * Errors: `ArchiveError` of pages files that are shorter than their maps say; those of the file system.
   */
  async read(address: bigint, target: Buffer, held: Uint8Array): Promise<void> {
    held.fill(0);
    const pageSize = this.#levels[0]?.map.pageSize ?? 1;
    for (const found of this.#held(0, address, target.length)) {
      const start = Number(found.address - address);
      await this.#windows[found.level]!.read(found.offset, target.subarray(start, start + found.length));
      held.fill(1, start / pageSize, (start + found.length) / pageSize);
    }
  }

  *#held(level: number, address: bigint, length: number): Generator<Held, void, undefined> {
    const map = this.#levels[level]?.map;
    for (const stretch of map?.stretches(address, length) ?? []) {
      if (stretch.state === "present") {
        yield { address: stretch.address, length: stretch.length, level, offset: stretch.offset };
      } else if (stretch.state === "parent") {
        yield* this.#held(level + 1, stretch.address, stretch.length);
      }
    }
  }
}

/** Bytes read ahead of one file. */
class Window {
  readonly #bytes: Bytes;
  readonly #buffer = Buffer.allocUnsafe(WINDOW_BYTES);
  #start = 0;
  #length = 0;

  constructor(bytes: Bytes) {
    this.#bytes = bytes;
  }

  async read(offset: number, target: Buffer): Promise<void> {
    const isInside = offset >= this.#start && offset + target.length <= this.#start + this.#length;
    if (!isInside && target.length >= WINDOW_BYTES) return await readInto(this.#bytes, offset, target);
    if (!isInside) {
      // More than is there is for the file to refuse.
      const length = Math.max(target.length, Math.min(WINDOW_BYTES, this.#bytes.size - offset));
      this.#length = 0;
      await readInto(this.#bytes, offset, this.#buffer.subarray(0, length));
      this.#start = offset;
      this.#length = length;
    }
    target.set(this.#buffer.subarray(offset - this.#start, offset - this.#start + target.length));
  }
}
