import type { Run } from "../../archive/criu/pagemap.ts";

/**
 * Most runs of a pagemap that is made for the sake of shared pages: of an archive's that has more nothing is shared, and
 * of memory that changed here and there in very many places the rest is written as if all of it had. Thus what is held
 * does not grow with the memory, and the map is one that is read again (`Pagemap`).
 */
export const MOST_RUNS = 250_000;

/** The runs of a pagemap, made in ascending order of addresses. */
export class PageRuns {
  readonly runs: Run[] = [];
  readonly #pageSize: number;
  readonly #most: number;

  constructor(pageSize: number, most = MOST_RUNS) {
    this.#pageSize = pageSize;
    this.#most = most;
  }

  /** Whether there may be runs that the archive's map has not. */
  get mayShare(): boolean {
    return this.runs.length < this.#most;
  }

  /** One run is what follows without a gap and is of one kind. */
  add(address: bigint, pages: number, state: Run["state"]): void {
    const last = this.runs.at(-1);
    const follows = last !== undefined && last.address + BigInt(last.pages * this.#pageSize) === address;
    if (follows && last.state === state) last.pages += pages;
    else this.runs.push({ address, pages, state });
  }
}
