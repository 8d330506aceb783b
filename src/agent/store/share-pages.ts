import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { FileBytes } from "../../archive/bytes.ts";
import { encodePagemap, Pagemap, type Run } from "../../archive/criu/pagemap.ts";
import type { PageChain } from "../../archive/page-chain.ts";
import type { WalkedEntry } from "../../archive/tar-walk.ts";
import {
  CHECKPOINT_DIRECTORY,
  type CopyFile,
  type CopyIndex,
  levelPath,
  MOST_PARENTS,
  PARENT_DIRECTORY,
  type SharedPages,
  WHOLE_DIRECTORY,
} from "../../store/copy.ts";
import { codeOf, type Disk, ensureDirectory, NewFile, writeNew } from "./disk.ts";
import { type OpenChain, openChain, pagemapID, pagesPath, readPagemap } from "./page-base.ts";

/** An earlier copy, whose pages a new one may share. */
export interface Base {
  directory: string;
  index: Pick<CopyIndex, "files">;
}

/** Any size will do where only the name of the pages file is wanted; of this all others are multiples. */
const SMALLEST_PAGE = 4096;
/** Bytes that are compared at once; pages of any size fill it. */
const BATCH_BYTES = 256 * 1024;

/**
 * Unpacks the pages of an archive as what differs from an earlier copy of the same container. Pages are found to be
 * equal by their content, for what the kernel tracks is often missing, and is of the process and not of the copy.
 */
export class PageSharing {
  readonly #shared: SharedPages[] = [];
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #base: Base;
  readonly #baseFiles: ReadonlyMap<string, CopyFile>;
  /** Of the archive, by the path of the pages file that they are of. */
  readonly #maps = new Map<string, { id: number; path: string }>();

  constructor(disk: Disk, directory: string, base: Base) {
    this.#disk = disk;
    this.#directory = directory;
    this.#base = base;
    this.#baseFiles = new Map(base.index.files.map((file) => [file.path, file]));
  }

  /** Told of each file that was unpacked as it is. */
  async saw({ path }: CopyFile): Promise<void> {
    const id = pagemapID(path);
    if (id === undefined) return;
    await using image = await FileBytes.open(join(this.#directory, path));
    const map = await Pagemap.read(image, SMALLEST_PAGE);
    this.#maps.set(pagesPath(map), { id, path });
  }

  /**
   * Unpacks the entry if it is a pages file that shares anything: then the files of the copy change as is told.
   * Undefined, with nothing read of the entry, where there is nothing to compare it with.
   */
  async take(
    entry: WalkedEntry,
    files: readonly CopyFile[],
  ): Promise<{ add: CopyFile[]; remove: string[] } | undefined> {
    const found = this.#maps.get(entry.name);
    if (found === undefined) return undefined;
    const { id, path } = found;
    const pagemap = files.find((file) => file.path === path);
    await using base = await openChain(this.#base.directory, this.#baseFiles, id);
    if (pagemap === undefined || base === undefined || base.files.length > MOST_PARENTS) return undefined;
    await using image = await FileBytes.open(join(this.#directory, path));
    const map = await readPagemap(image, entry.size);
    if (map?.pageSize !== base.pageSize || !isOfItself(map)) return undefined;
    const links = await this.#link(base);
    if (links === undefined) return undefined;

    const written = await this.#writeChanged(entry, map, base.chain);
    if (!written.sharesAny) {
      for (const link of links) await this.#disk.unlink(join(this.#directory, link.path));
      return { add: [{ path: entry.name, ...written.file }], remove: [] };
    }
    const whole = `${WHOLE_DIRECTORY}/pagemap-${id}.img`;
    await ensureDirectory(this.#disk, join(this.#directory, WHOLE_DIRECTORY));
    await this.#disk.rename(join(this.#directory, path), join(this.#directory, whole));
    const runs = encodePagemap(map.pagesId, written.runs);
    const changedMap = await writeNew(this.#disk, join(this.#directory, path), runs);
    this.#shared.push({ id, pages: { path: entry.name, ...written.original }, pagemap });
    return {
      add: [
        { path, ...changedMap },
        { ...pagemap, path: whole },
        { path: entry.name, ...written.file },
        ...links,
      ],
      remove: [path],
    };
  }

  /** What is shared, when all entries have been seen. */
  async finish(): Promise<SharedPages[]> {
    const parent = join(this.#directory, CHECKPOINT_DIRECTORY, PARENT_DIRECTORY);
    if (this.#shared.length === 0) await this.#disk.rm(parent, { recursive: true, force: true });
    return this.#shared;
  }

  /** Has the base's levels be this copy's parents; undefined where they went meanwhile. */
  async #link(base: OpenChain): Promise<CopyFile[] | undefined> {
    const links: CopyFile[] = [];
    for (const [level, { pagemap, pages }] of base.files.entries()) {
      for (const file of [pagemap, pages]) {
        const path = levelPath(level + 1, file.path.slice(file.path.lastIndexOf("/") + 1));
        const to = join(this.#directory, path);
        await ensureDirectory(this.#disk, dirname(to));
        try {
          await this.#disk.link(join(this.#base.directory, file.path), to);
        } catch (error) {
          if (codeOf(error) === "ENOENT") return undefined;
          throw error;
        }
        links.push({ ...file, path });
      }
    }
    return links;
  }

  /** Writes the pages that the base does not have as they are, and says which those are. */
  async #writeChanged(entry: WalkedEntry, map: Pagemap, base: PageChain) {
    const { pageSize } = map;
    const original = createHash("sha256");
    const pages = new Pieces(entry.content());
    const before = Buffer.allocUnsafe(BATCH_BYTES);
    const held = new Uint8Array(BATCH_BYTES / pageSize);
    const runs: Run[] = [];
    let sharesAny = false;
    await using file = await NewFile.open(this.#disk, join(this.#directory, entry.name));
    for (const run of map.runs()) {
      if (run.state !== "present") {
        runs.push({
          address: run.address,
          pages: run.length / pageSize,
          state: run.state === "lazy" ? "lazy" : "parent",
        });
        continue;
      }
      for (let at = 0; at < run.length; at += BATCH_BYTES) {
        const length = Math.min(BATCH_BYTES, run.length - at);
        const address = run.address + BigInt(at);
        const now = await pages.take(length);
        original.update(now);
        const old = before.subarray(0, length);
        await base.read(address, old, held.subarray(0, length / pageSize));
        let changed = 0;
        for (const { start, end, isEqual } of compare(now, old, held, pageSize)) {
          append(
            runs,
            address + BigInt(start),
            (end - start) / pageSize,
            isEqual ? "parent" : "present",
            pageSize,
          );
          if (isEqual) sharesAny = true;
          else {
            now.copyWithin(changed, start, end);
            changed += end - start;
          }
        }
        if (changed > 0) await file.write(now.subarray(0, changed));
      }
    }
    return {
      file: await file.finish(),
      original: { size: entry.size, sha256: original.digest("hex") },
      runs,
      sharesAny,
    };
  }
}

/** One that builds upon nothing already. */
function isOfItself(map: Pagemap): boolean {
  for (const { state } of map.runs()) if (state === "parent") return false;
  return true;
}

/** Stretches of whole pages that are equal, or are not. */
function* compare(
  now: Buffer,
  old: Buffer,
  held: Uint8Array,
  pageSize: number,
): Generator<{ start: number; end: number; isEqual: boolean }, void, undefined> {
  let start = 0;
  let last: boolean | undefined;
  for (let at = 0; at < now.length; at += pageSize) {
    const end = at + pageSize;
    const isEqual = held[at / pageSize] === 1 && now.compare(old, at, end, at, end) === 0;
    if (last !== undefined && last !== isEqual) {
      yield { start, end: at, isEqual: last };
      start = at;
    }
    last = isEqual;
  }
  if (last !== undefined) yield { start, end: now.length, isEqual: last };
}

/** One run is what follows without a gap and is of one kind. */
function append(runs: Run[], address: bigint, pages: number, state: Run["state"], pageSize: number): void {
  const last = runs.at(-1);
  const follows = last !== undefined && last.address + BigInt(last.pages * pageSize) === address;
  if (follows && last.state === state) last.pages += pages;
  else runs.push({ address, pages, state });
}

/** A stream in pieces of the length that is wanted. A piece is overwritten by the next. */
class Pieces {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #buffer = Buffer.allocUnsafe(BATCH_BYTES);
  #rest: Uint8Array = new Uint8Array();

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  async take(length: number): Promise<Buffer> {
    for (let got = 0; got < length; ) {
      if (this.#rest.length === 0) {
        const next = await this.#chunks.next();
        if (next.done) throw new RangeError(`the pages end ${length - got} bytes too early`);
        this.#rest = next.value;
        continue;
      }
      const piece = this.#rest.subarray(0, length - got);
      this.#buffer.set(piece, got);
      this.#rest = this.#rest.subarray(piece.length);
      got += piece.length;
    }
    return this.#buffer.subarray(0, length);
  }
}

/** Whether a copy of these files may be another's base: not at the end of a long chain, nor of much that is not needed. */
export function mayBeBase({ files }: Pick<CopyIndex, "files">): boolean {
  const depthOf = (path: string): number => path.split("/").length - 2;
  const pages = files.filter(({ path }) => /^checkpoint\/(parent\/)*pages-/.test(path));
  const depth = Math.max(0, ...pages.map(({ path }) => depthOf(path)));
  const bytes = (wanted: number) =>
    pages.filter(({ path }) => depthOf(path) === wanted).reduce((sum, { size }) => sum + size, 0);
  const whole = bytes(depth);
  const changed = Array.from({ length: depth }, (_, level) => bytes(level)).reduce(
    (sum, size) => sum + size,
    0,
  );
  return (
    depth < MOST_PARENTS &&
    changed <= whole / 2 &&
    files.some(({ path }) => path.startsWith(CHECKPOINT_DIRECTORY))
  );
}
