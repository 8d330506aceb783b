import { chunksOf, compressionOf, unpacked } from "./compression.ts";
import { ArchiveError } from "./errors.ts";
import type { Engine } from "./metadata.ts";
import { readTar, type Tar, type TarEntryType } from "./tar.ts";
import { withoutEndSlashes } from "./tar-headers.ts";
import { type WalkedEntry, walkTar } from "./tar-walk.ts";

/** What an archive is asked for here. */
export interface RootfsSource {
  readonly tar: Tar;
  readonly engine: Engine;
}

/**
 * One thing that a container has changed in its root file system since its image. Paths are absolute as the
 * container saw them, and strings of strangers: not to be used as paths here.
 */
export type RootfsChange =
  | RootfsWritten
  /** It was in the image, and is not there any more. */
  | { readonly type: "deleted"; readonly path: string }
  /** What the image has below this directory is not there any more, but for what was written. */
  | { readonly type: "emptied"; readonly path: string };

/** Made, or changed in content or attributes: a layer does not say which. */
export interface RootfsWritten {
  readonly type: "written";
  readonly path: string;
  readonly kind: TarEntryType;
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Of a file, in bytes; 0 for all else. */
  readonly size: number;
  /** In whole seconds since 1970. */
  readonly mtime: number;
  /** Target of a link as it stands there, "" otherwise; that of a hard link is an absolute path. */
  readonly target: string;
  /** A file's bytes, once, before the next change is asked for. */
  content(): AsyncIterable<Uint8Array>;
}

export const ROOTFS_DIFF = "rootfs-diff.tar";
export const DELETED_FILES = "deleted.files";
const DELETED_FILES_BYTES = 64 * 1024 * 1024;

/** OCI image-spec 1.1, layer.md: a file that is not there any more, and a directory that has nothing below. */
const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";

/** Links to links that a hostile layer may hold are followed so far. */
const LINK_DEPTH = 8;

/**
 * The changes in the order of the archive: containerd's layer (gzip, zstd or plain, with whiteouts), Podman's and
 * CRI-O's plain tar and its list of deleted files. Nothing at all when the container has changed nothing.
 *
 * Guarantees: memory does not grow with the files; of a layer that is not compressed nothing is read but headers
 * and what is asked for.
 * Errors: `ArchiveError`; the signal's reason.
 */
export async function* rootfsChanges(
  { tar, engine }: RootfsSource,
  { signal }: { signal?: AbortSignal } = {},
): AsyncGenerator<RootfsChange, void, undefined> {
  const hasWhiteouts = engine === "containerd";
  for await (const entry of layerEntries(tar, signal)) {
    yield (hasWhiteouts && whitedOut(entry.name)) || written(entry);
  }
  for (const path of await deletedFiles(tar)) yield { type: "deleted", path: absolute(path) };
}

/**
 * The content of one file that the container has written, hard links followed.
 *
 * Errors: `ArchiveError`: `missing` when it is none of the changes, was deleted, or is no file; as `rootfsChanges`.
 */
export async function* readRootfsFile(
  source: RootfsSource,
  path: string,
  { signal }: { signal?: AbortSignal } = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  let wanted = absolute(path);
  for (let depth = 0; depth < LINK_DEPTH; depth += 1) {
    const found = await find(source, wanted, signal);
    if (found === undefined) throw missing(source, wanted, "the container has not written it");
    if (found.change.type !== "written") throw missing(source, wanted, "the container has deleted it");
    const { kind, target } = found.change;
    if (kind === "hardlink") {
      await found.changes.return();
      wanted = target;
      continue;
    }
    if (kind !== "file") {
      await found.changes.return();
      throw missing(source, wanted, kind === "symlink" ? `it is a link to ${target}` : `it is no file`);
    }
    try {
      yield* found.change.content();
    } finally {
      await found.changes.return();
    }
    return;
  }
  throw missing(source, wanted, "links that lead to links without an end");
}

async function find(source: RootfsSource, wanted: string, signal?: AbortSignal) {
  const changes = rootfsChanges(source, { signal });
  for (;;) {
    const { value: change, done } = await changes.next();
    if (done) return undefined;
    if (change.path === wanted) return { change, changes };
  }
}

function missing({ tar }: RootfsSource, path: string, why: string): ArchiveError {
  return new ArchiveError("missing", `${tar.bytes.name}: ${ROOTFS_DIFF}: no file ${path}: ${why}`);
}

async function* layerEntries(tar: Tar, signal?: AbortSignal): AsyncGenerator<WalkedEntry, void, undefined> {
  const layer = tar.open(ROOTFS_DIFF);
  if (layer === undefined) return;
  if ((await compressionOf(layer)) !== "none") {
    yield* walkTar(layer.name, unpacked(layer, signal), { signal });
    return;
  }
  const plain = await readTar(layer, { signal });
  for (const entry of plain.entries()) {
    yield { ...entry, content: () => chunksOf(plain.open(entry.name) ?? EMPTY, signal) };
  }
}

const EMPTY = { name: "", size: 0, read: async () => Buffer.alloc(0) };

function written({ name, type, linkName, ...rest }: WalkedEntry): RootfsWritten {
  const { mode, uid, gid, size, mtime, content } = rest;
  const target = type === "hardlink" ? absolute(linkName) : type === "symlink" ? linkName : "";
  return { type: "written", path: absolute(name), kind: type, mode, uid, gid, size, mtime, target, content };
}

/** What a whiteout says; undefined for every other name. */
function whitedOut(name: string): RootfsChange | undefined {
  const slash = name.lastIndexOf("/") + 1;
  const base = name.slice(slash);
  if (!base.startsWith(WHITEOUT)) return undefined;
  if (base === OPAQUE) return { type: "emptied", path: absolute(name.slice(0, slash)) };
  return { type: "deleted", path: absolute(name.slice(0, slash) + base.slice(WHITEOUT.length)) };
}

/** `./a/b/` and `//a/b` as `/a/b`; see {@link withoutEndSlashes} for why by hand. */
function absolute(name: string): string {
  let start = 0;
  while (name[start] === "/" || name.startsWith("./", start)) start += 1;
  return `/${withoutEndSlashes(name.slice(start))}`;
}

/** Errors: `malformed`, `too-large`. */
async function deletedFiles(tar: Tar): Promise<string[]> {
  if (tar.open(DELETED_FILES) === undefined) return [];
  const bytes = await tar.read(DELETED_FILES, DELETED_FILES_BYTES);
  let names: unknown;
  try {
    names = JSON.parse(bytes.toString("utf8"));
  } catch (cause) {
    throw new ArchiveError("malformed", `${tar.bytes.name}: ${DELETED_FILES}: not JSON`, { cause });
  }
  if (Array.isArray(names) && names.every((name) => typeof name === "string")) return names;
  // What Go writes for a list of nothing.
  if (names === null) return [];
  throw new ArchiveError("malformed", `${tar.bytes.name}: ${DELETED_FILES}: not a list of names`);
}
