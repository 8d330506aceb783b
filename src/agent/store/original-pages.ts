import { join } from "node:path";
import { FileBytes } from "../../archive/bytes.ts";
import { Pagemap } from "../../archive/criu/pagemap.ts";
import { ArchiveError } from "../../archive/errors.ts";
import { type CopyIndex, type SharedPages, WHOLE_DIRECTORY } from "../../store/copy.ts";
import { openChain } from "./page-base.ts";

/** Bytes that are given at once. */
const BATCH_BYTES = 256 * 1024;

/**
 * A part of a pages file as the archive has it, put together of the pages that a copy shares with earlier ones.
 *
 * Errors: `ArchiveError` for a copy that does not have them; those of the file system.
 */
export async function* originalPages(
  directory: string,
  { files }: Pick<CopyIndex, "files">,
  { id, pages }: SharedPages,
  { from, end }: { from: number; end: number },
): AsyncGenerator<Buffer, void, undefined> {
  const lacking = (what: string) => new ArchiveError("missing", `${directory}: ${what}`);
  await using opened = await openChain(directory, new Map(files.map((file) => [file.path, file])), id);
  if (opened === undefined) throw lacking(`the pages of process ${id} are not whole`);
  const { chain, pageSize } = opened;
  await using image = await FileBytes.open(join(directory, WHOLE_DIRECTORY, `pagemap-${id}.img`));
  const map = await Pagemap.read(image, pageSize);
  if (map.presentBytes !== pages.size) throw lacking(`${pages.path} is of another size than its map`);
  const held = new Uint8Array(BATCH_BYTES / pageSize);
  for (const run of map.runs()) {
    if (run.state !== "present") continue;
    if (run.offset >= end) return;
    const stop = Math.min(run.offset + run.length, end);
    // The page in which the part begins.
    let at = Math.max(run.offset, from - (from % pageSize));
    for (; at < stop; at += BATCH_BYTES) {
      const length = Math.min(BATCH_BYTES, run.offset + run.length - at);
      const bytes = Buffer.allocUnsafe(length);
      await chain.read(run.address + BigInt(at - run.offset), bytes, held.subarray(0, length / pageSize));
      if (held.subarray(0, length / pageSize).includes(0))
        throw lacking(`a page of process ${id} is nowhere`);
      yield bytes.subarray(Math.max(0, from - at), Math.min(length, end - at));
    }
  }
}
