import { join } from "node:path";
import { FileBytes } from "../../archive/bytes.ts";
import { Pagemap } from "../../archive/criu/pagemap.ts";
import { ArchiveError } from "../../archive/errors.ts";
import { PageChain, type PageLevel } from "../../archive/page-chain.ts";
import { CHECKPOINT_DIRECTORY, type CopyFile, levelPath, MOST_PARENTS } from "../../store/copy.ts";

/** Sizes that a page may have, in bytes: of x86-64 the first, of arm64 any. */
const PAGE_SIZES = [4096, 16_384, 65_536];

/** The map of pages that fill a pages file of that size; undefined where none does. */
export async function readPagemap(bytes: FileBytes, pagesSize: number): Promise<Pagemap | undefined> {
  for (const pageSize of PAGE_SIZES) {
    const map = await mapOf(bytes, pageSize);
    if (map?.presentBytes === pagesSize) return map;
  }
  return undefined;
}

async function mapOf(bytes: FileBytes, pageSize: number): Promise<Pagemap | undefined> {
  try {
    return await Pagemap.read(bytes, pageSize);
  } catch (error) {
    // Addresses that are no multiple of larger pages.
    if (error instanceof ArchiveError && pageSize !== PAGE_SIZES[0]) return undefined;
    throw error;
  }
}

/** The memory of one process in a copy, open to be read. To be closed. */
export interface OpenChain extends AsyncDisposable {
  chain: PageChain;
  pageSize: number;
  /** Of each level, the copy's own first, its pagemap and its pages file. */
  files: { pagemap: CopyFile; pages: CopyFile }[];
}

/**
 * Opens the memory of one process in the copy in `directory`, by its index. Undefined where it has none, or none that is
 * whole.
 *
 * Errors: `ArchiveError` for damaged images; those of the file system.
 */
export async function openChain(
  directory: string,
  files: ReadonlyMap<string, CopyFile>,
  id: number,
): Promise<OpenChain | undefined> {
  await using opened = new AsyncDisposableStack();
  const found: OpenChain["files"] = [];
  const open: OpenLevel[] = [];
  for (let level = 0; level <= MOST_PARENTS; level++) {
    const pagemap = files.get(levelPath(level, `pagemap-${id}.img`));
    if (pagemap === undefined) return undefined;
    const image = opened.use(await FileBytes.open(join(directory, pagemap.path)));
    const map = await Pagemap.read(image, PAGE_SIZES[0]!);
    // Who restores could take another page for one that it is not clear of.
    if (!map.isClear) return undefined;
    const pages = files.get(levelPath(level, `pages-${map.pagesId}.img`));
    if (pages === undefined) return undefined;
    open.push({ image, map, pages: opened.use(await FileBytes.open(join(directory, pages.path))) });
    found.push({ pagemap, pages });
    if (hasParent(map)) continue;
    const levels = await levelsOf(open);
    if (levels === undefined) return undefined;
    const keep = opened.move();
    return {
      chain: new PageChain(levels),
      pageSize: levels[0]!.map.pageSize,
      files: found,
      [Symbol.asyncDispose]: () => keep.disposeAsync(),
    };
  }
  return undefined;
}

interface OpenLevel {
  image: FileBytes;
  /** As if pages were of the first size. */
  map: Pagemap;
  pages: FileBytes;
}

/** The levels by the size of pages that all their files are of: one alone may hold none, which is any size. */
async function levelsOf(open: readonly OpenLevel[]): Promise<PageLevel[] | undefined> {
  for (const pageSize of PAGE_SIZES) {
    const levels: PageLevel[] = [];
    for (const { image, map: first, pages } of open) {
      const map = pageSize === first.pageSize ? first : await mapOf(image, pageSize);
      if (map?.presentBytes !== pages.size) break;
      levels.push({ map, pages });
    }
    if (levels.length === open.length) return levels;
  }
  return undefined;
}

/** Whether any pages are those of a checkpoint before. */
export function hasParent(map: Pagemap): boolean {
  for (const { state } of map.runs()) if (state === "parent") return true;
  return false;
}

/** Of a process or of shared memory, whatever it is called by. */
export const isPagemap = (path: string): boolean => /^checkpoint\/pagemap-.*\.img$/.test(path);

/** Of an entry that is a process's pagemap, the process's ID; shared memory has IDs that no two dumps share. */
export function pagemapID(path: string): number | undefined {
  const [, id] = /^checkpoint\/pagemap-(0|[1-9][0-9]{0,9})\.img$/.exec(path) ?? [];
  return id === undefined ? undefined : Number(id);
}

export const pagesPath = (pagesId: number): string => `${CHECKPOINT_DIRECTORY}/pages-${pagesId}.img`;
