import { walkTar } from "../archive/tar-walk.ts";
import { ARCHIVE_REST, type CopyFile, type CopyIndex, isOfSharedPages } from "../store/copy.ts";
import type { Range } from "../transfer/protocol.ts";

/** Bytes of an archive that are bytes of one file of its copy. */
export interface Segment {
  /** Where they begin in the archive. */
  start: number;
  length: number;
  file: CopyFile;
  /** Where they begin in the file. */
  at: number;
}

/** Of what the archive is made of. */
export const restOf = ({ files }: Pick<CopyIndex, "files">): CopyFile | undefined =>
  files.find(({ path }) => path === ARCHIVE_REST);

/**
 * An archive as parts of the files that it was unpacked into, in its order and without gaps. `content` is that of the
 * rest (see {@link ARCHIVE_REST}), and read once.
 *
 * Errors: ArchiveError for a rest that is none, or of other files; those of `content`; the signal's reason.
 */
export async function segmentsOf(
  { files, shared = [] }: Pick<CopyIndex, "files" | "shared">,
  rest: CopyFile,
  content: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<Segment[]> {
  const own = files.filter(({ path }) => !isOfSharedPages(path));
  const kept = new Map(own.map((file) => [file.path, file]));
  // The node puts them together again, and has them by their content as it has files.
  for (const { pages, pagemap } of shared) for (const file of [pages, pagemap]) kept.set(file.path, file);
  kept.delete(rest.path);
  const segments: Segment[] = [];
  let end = 0;
  let at = 0;
  const append = (file: CopyFile, from: number, length: number): void => {
    if (length > 0) segments.push({ start: end, length, file, at: from });
    end += length;
  };
  // What a copy does not have of an entry is in the rest, whatever it is called.
  const isCutOut = ({ name, type, size }: { name: string; type: string; size: number }): boolean =>
    type === "file" && kept.get(name)?.size === size;
  for await (const entry of walkTar(ARCHIVE_REST, content, { signal, isCutOut })) {
    if (!isCutOut(entry)) continue;
    append(rest, at, entry.offset - at);
    at = entry.offset;
    append(kept.get(entry.name)!, 0, entry.size);
  }
  append(rest, at, rest.size - at);
  return segments;
}

/** The parts of files that a range of the archive is, in order. */
export function* cut(
  segments: readonly Segment[],
  { from, end }: Range,
): Generator<{ file: CopyFile; range: Range }, void, undefined> {
  for (let n = firstFrom(segments, from); n < segments.length; n++) {
    const { start, length, file, at } = segments[n]!;
    if (start >= end) return;
    const first = Math.max(from, start) - start + at;
    const last = Math.min(end, start + length) - start + at;
    if (first < last) yield { file, range: { from: first, end: last } };
  }
}

export const sizeOf = (segments: readonly Segment[]): number => {
  const last = segments.at(-1);
  return last === undefined ? 0 : last.start + last.length;
};

/** The last segment that begins at or before that byte. */
function firstFrom(segments: readonly Segment[], byte: number): number {
  let [low, high] = [0, segments.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (segments[middle]!.start <= byte) low = middle;
    else high = middle - 1;
  }
  return low;
}
