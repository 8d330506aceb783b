import { createHash } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { FileBytes } from "../../archive/bytes.ts";
import { encodePagemap, Pagemap } from "../../archive/criu/pagemap.ts";
import { ArchiveError } from "../../archive/errors.ts";
import type { PageChain } from "../../archive/page-chain.ts";
import type { WalkedEntry } from "../../archive/tar-walk.ts";
import {
  type CopyFile,
  type CopyIndex,
  isPageData,
  levelPath,
  MOST_PARENTS,
  PARENT_DIRECTORY,
  type SharedPages,
  WHOLE_DIRECTORY,
} from "../../store/copy.ts";
import { type Disk, ensureDirectory, NewFile, writeNew } from "./disk.ts";
import {
  hasParent,
  isPagemap,
  type OpenChain,
  openChain,
  pagemapID,
  pagesPath,
  readPagemap,
} from "./page-base.ts";
import { MOST_RUNS, PageRuns } from "./page-runs.ts";

/** An earlier copy, whose pages a new one may share. */
export interface Base {
  directory: string;
  index: Pick<CopyIndex, "files" | "shared">;
}

/** Bytes that are compared at once; pages of any size fill it. */
const BATCH_BYTES = 256 * 1024;

/**
 * Unpacks the pages of an archive as what differs from an earlier copy of the same container. Pages are found to be
 * equal by their content, for what the kernel tracks is often missing, and is of the process and not of the copy.
 */
export class PageSharing {
  readonly #shared: SharedPages[] = [];
  /** Paths of the pages files that are, and of the links to the base's that there are. */
  readonly #sharedPaths = new Set<string>();
  readonly #linked = new Set<string>();
  /** Parents that any process has. */
  #depth = 0;
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #base: Base;
  readonly #baseFiles: ReadonlyMap<string, CopyFile>;
  /** Of the archive, by the path of the pages file that they are of; undefined where several are. */
  readonly #maps = new Map<string, { id: number; path: string } | undefined>();

  constructor(disk: Disk, directory: string, base: Base) {
    this.#disk = disk;
    this.#directory = directory;
    this.#base = base;
    this.#baseFiles = new Map(base.index.files.map((file) => [file.path, file]));
  }

  /**
   * Told of each file that was unpacked as it is. Errors: `ArchiveError` for a map of pages that are shared by another's
   * map: to those it would be wrong.
   */
  async saw({ path }: CopyFile): Promise<void> {
    if (!isPagemap(path)) return;
    await using image = await FileBytes.open(join(this.#directory, path));
    const pages = pagesPath(await Pagemap.pagesIdOf(image));
    if (this.#sharedPaths.has(pages)) {
      throw new ArchiveError("unsupported", `${path} names ${pages}, which another map names`);
    }
    const id = pagemapID(path);
    this.#maps.set(pages, id === undefined || this.#maps.has(pages) ? undefined : { id, path });
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
    if (found === undefined || entry.size === 0) return undefined;
    const { id, path } = found;
    const pagemap = files.find((file) => file.path === path);
    await using base = await openChain(this.#base.directory, this.#baseFiles, id);
    if (pagemap === undefined || base === undefined || base.files.length > MOST_PARENTS) return undefined;
    const links = linksTo(base);
    if (links.some((link) => this.#linked.has(link.path))) return undefined;
    await using image = await FileBytes.open(join(this.#directory, path));
    const map = await readPagemap(image, entry.size);
    if (map?.pageSize !== base.pageSize || map.size > MOST_RUNS) return undefined;
    if (!map.isClear || hasParent(map)) return undefined;
    await this.#link(links);

    const written = await this.#writeChanged(entry, map, base.chain);
    if (!written.sharesAny) {
      for (const link of links) await this.#disk.unlink(join(this.#directory, link.path));
      return { add: [{ path: entry.name, ...written.file }], remove: [] };
    }
    const whole = `${WHOLE_DIRECTORY}/pagemap-${id}.img`;
    await ensureDirectory(this.#disk, join(this.#directory, WHOLE_DIRECTORY));
    await this.#disk.rename(join(this.#directory, path), join(this.#directory, whole));
    const runs = encodePagemap(map.pagesId, written.runs);
    const changedMap = await writeNew(this.#disk, join(this.#directory, path), inBatches(runs));
    this.#shared.push({ id, pages: { path: entry.name, ...written.original }, pagemap });
    this.#sharedPaths.add(entry.name);
    for (const link of links) this.#linked.add(link.path);
    this.#depth = Math.max(this.#depth, base.files.length);
    return {
      add: [
        { path, ...changedMap },
        { ...pagemap, path: whole },
        { path: entry.name, ...written.file },
        ...links.map(({ file, path: to }) => ({ ...file, path: to })),
      ],
      remove: [path],
    };
  }

  /** What is shared, when all entries have been seen. */
  async finish(): Promise<SharedPages[]> {
    const unused = join(this.#directory, dirname(levelPath(this.#depth + 1, PARENT_DIRECTORY)));
    await this.#disk.rm(unused, { recursive: true, force: true });
    return this.#shared;
  }

  /** Has the base's levels be this copy's parents. Errors: ENOENT where they went meanwhile. */
  async #link(links: readonly Link[]): Promise<void> {
    for (const { file, path } of links) {
      const to = join(this.#directory, path);
      await ensureDirectory(this.#disk, dirname(to));
      await this.#disk.link(join(this.#base.directory, file.path), to);
    }
  }

  /** Writes the pages that the base does not have as they are, and says which those are. */
  async #writeChanged(entry: WalkedEntry, map: Pagemap, base: PageChain) {
    const { pageSize } = map;
    const original = createHash("sha256");
    const pages = new Pieces(entry.content());
    const before = Buffer.allocUnsafe(BATCH_BYTES);
    const held = new Uint8Array(BATCH_BYTES / pageSize);
    const made = new PageRuns(pageSize);
    let sharesAny = false;
    await using file = await NewFile.open(this.#disk, join(this.#directory, entry.name));
    for (const run of map.runs()) {
      if (run.state !== "present") {
        made.add(run.address, run.length / pageSize, "lazy");
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
          const isShared = isEqual && made.mayShare;
          const pagesOfIt = (end - start) / pageSize;
          made.add(address + BigInt(start), pagesOfIt, isShared ? "parent" : "present");
          if (isShared) sharesAny = true;
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
      runs: made.runs,
      sharesAny,
    };
  }
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

/** A file of the base, and where it is to be in the new copy. */
interface Link {
  file: CopyFile;
  path: string;
}

const linksTo = ({ files }: OpenChain): Link[] =>
  files.flatMap(({ pagemap, pages }, level) =>
    [pagemap, pages].map((file) => ({ file, path: levelPath(level + 1, basename(file.path)) })),
  );

/** Many small pieces as few larger ones: each is a write. */
function* inBatches(pieces: Iterable<Uint8Array>): Generator<Buffer, void, undefined> {
  let batch: Uint8Array[] = [];
  let bytes = 0;
  for (const piece of pieces) {
    batch.push(piece);
    bytes += piece.length;
    if (bytes < BATCH_BYTES) continue;
    yield Buffer.concat(batch);
    [batch, bytes] = [[], 0];
  }
  yield Buffer.concat(batch);
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

/** Whether a copy may be another's base: not at the end of a long chain, nor of much that is not needed. */
export function mayBeBase({ files, shared = [] }: Pick<CopyIndex, "files" | "shared">): boolean {
  const own = new Set(shared.map(({ pages }) => pages.path));
  let [depth, held] = [0, 0];
  for (const { path, size } of files) {
    if (!isPageData(path)) continue;
    const level = path.split("/").length - 2;
    depth = Math.max(depth, level);
    // What is not shared at all is neither needed less nor more than it was.
    if (level > 0 || own.has(path)) held += size;
  }
  const needed = shared.reduce((sum, { pages }) => sum + pages.size, 0);
  return depth < MOST_PARENTS && held <= needed * 1.5;
}
