import { createHash } from "node:crypto";
import { lstatSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import {
  ARCHIVE_REST,
  CHECKPOINT_DIRECTORY,
  COPY_INDEX,
  COPY_VERSION,
  CORRUPT_MARK,
  type CopyFile,
  type CopyIndex,
  isPageData,
  parseCopyIndex,
} from "../../store/copy.ts";
import { laterProtocolIn, ofLaterProtocol } from "../../store/protocol.ts";
import { errnoOf, PartError } from "./errors.ts";
import { openRegular, readSmall } from "./open-file.ts";

const INDEX_LIMIT = 64 * 1024 * 1024;
const AT_ONCE = 4;

/**
 * Sees that a copy is whole: everything that its index names is there, of the right size and, but for page data,
 * of the right content, and CRIU would find nothing else beside its images.
 *
 * Errors: `PartError` of code `CopyCorrupt`, `corrupt` unless there is no copy at all, or it is marked already;
 * `ProtocolUnknown` for one that an agent of a later version made; the signal's reason.
 */
export async function checkCopy(dir: string, signal?: AbortSignal): Promise<CopyIndex> {
  if (lstatSync(join(dir, CORRUPT_MARK), { throwIfNoEntry: false })) {
    throw new PartError("CopyCorrupt", `the copy ${basename(dir)} is marked as damaged`);
  }
  const index = await readIndex(dir);
  if (index.archive !== basename(dir)) throw damaged(dir, `${COPY_INDEX} is of ${index.archive}`);
  assertNothingElse(dir, index.files);
  const files = index.files.values();
  const check = async (): Promise<void> => {
    for (const file of files) {
      signal?.throwIfAborted();
      await checkFile(dir, file, signal);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, check));
  return index;
}

async function readIndex(dir: string): Promise<CopyIndex> {
  let text: string;
  try {
    text = await readSmall(join(dir, COPY_INDEX), INDEX_LIMIT);
  } catch (cause) {
    if (errnoOf(cause) === "ENOENT") {
      throw new PartError("CopyCorrupt", `this node has no copy ${basename(dir)}`, { cause });
    }
    throw damaged(dir, `${COPY_INDEX} cannot be read`, cause);
  }
  const index = parseCopyIndex(text);
  const later = laterProtocolIn(text, COPY_VERSION);
  if (later !== undefined) {
    throw new PartError("ProtocolUnknown", ofLaterProtocol(`the copy ${basename(dir)}`, later, COPY_VERSION));
  }
  if (!index) throw damaged(dir, `${COPY_INDEX} is no index`);
  return index;
}

/** CRIU looks for images by their names. */
function assertNothingElse(dir: string, files: readonly CopyFile[]): void {
  const known = new Set(files.flatMap(({ path }) => withParents(path)));
  const images = join(dir, CHECKPOINT_DIRECTORY);
  if (!lstatSync(images, { throwIfNoEntry: false })?.isDirectory()) {
    throw damaged(dir, `${CHECKPOINT_DIRECTORY} is missing`);
  }
  // In `parent` and on from there too.
  for (const directories = [CHECKPOINT_DIRECTORY]; directories.length > 0; ) {
    const directory = directories.pop()!;
    for (const entry of readdirSync(join(dir, directory), { withFileTypes: true })) {
      const path = `${directory}/${entry.name}`;
      if (!known.has(path)) throw damaged(dir, `${path} is not in its ${COPY_INDEX}`);
      if (entry.isDirectory()) directories.push(path);
    }
  }
}

const withParents = (path: string): string[] =>
  path.split("/").map((_, at, parts) => parts.slice(0, at + 1).join("/"));

async function checkFile(dir: string, { path, size, sha256 }: CopyFile, signal?: AbortSignal): Promise<void> {
  try {
    const opened = await openRegular(join(dir, path));
    await using file = opened.file;
    if (opened.size !== size) throw damaged(dir, `${path} has ${opened.size} bytes, not ${size}`);
    // Of the rest no restore needs anything.
    if (isPageData(path) || path === ARCHIVE_REST) return;
    const hash = createHash("sha256");
    const buffer = Buffer.allocUnsafe(Math.min(size, 512 * 1024));
    for (let at = 0; at < size; ) {
      signal?.throwIfAborted();
      const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) break;
      hash.update(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
    if (hash.digest("hex") !== sha256) throw damaged(dir, `${path} is not what it was`);
  } catch (error) {
    if (signal?.aborted || (error instanceof PartError && error.corrupt)) throw error;
    throw damaged(dir, `${path} cannot be read`, error);
  }
}

const damaged = (dir: string, what: string, cause?: unknown): PartError =>
  new PartError("CopyCorrupt", `the copy ${basename(dir)} is damaged: ${what}`, { corrupt: true, cause });
