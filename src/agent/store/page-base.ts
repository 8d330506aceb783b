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
    const map = await Pagemap.read(bytes, pageSize).catch((error: unknown) => {
      // Addresses that are no multiple of larger pages.
      if (error instanceof ArchiveError && pageSize !== PAGE_SIZES[0]) return undefined;
      throw error;
    });
    if (map?.presentBytes === pagesSize) return map;
  }
  return undefined;
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
  const levels: PageLevel[] = [];
  const found: OpenChain["files"] = [];
  for (let level = 0; level <= MOST_PARENTS; level++) {
    const pagemap = files.get(levelPath(level, `pagemap-${id}.img`));
    if (pagemap === undefined) return undefined;
    await using image = await FileBytes.open(join(directory, pagemap.path));
    const { pagesId } = await Pagemap.read(image, PAGE_SIZES[0]!);
    const pages = files.get(levelPath(level, `pages-${pagesId}.img`));
    if (pages === undefined) return undefined;
    const map = await readPagemap(image, pages.size);
    const isOfOneSize = levels.every((other) => other.map.pageSize === map?.pageSize);
    if (map === undefined || !isOfOneSize) return undefined;
    levels.push({ map, pages: opened.use(await FileBytes.open(join(directory, pages.path))) });
    found.push({ pagemap, pages });
    if (!hasParent(map)) {
      const keep = opened.move();
      return {
        chain: new PageChain(levels),
        pageSize: map.pageSize,
        files: found,
        [Symbol.asyncDispose]: () => keep.disposeAsync(),
      };
    }
  }
  return undefined;
}

function hasParent(map: Pagemap): boolean {
  for (const { state } of map.runs()) if (state === "parent") return true;
  return false;
}

/** Of an entry that is a process's pagemap, the process's ID; shared memory has IDs that no two dumps share. */
export function pagemapID(path: string): number | undefined {
  const [, id] = /^checkpoint\/pagemap-([0-9]{1,10})\.img$/.exec(path) ?? [];
  return id === undefined ? undefined : Number(id);
}

export const pagesPath = (map: Pagemap): string => `${CHECKPOINT_DIRECTORY}/pages-${map.pagesId}.img`;
