import { lstatSync } from "node:fs";
import { join } from "node:path";
import { type CopyIndex, DELETED_FILES, ROOTFS_DIFF } from "../../store/copy.ts";
import { asPartError, PartError } from "./errors.ts";
import { type Extracted, Extraction, type Tools } from "./extract.ts";
import { readSmall } from "./open-file.ts";
import { readTarStream } from "./tar-reader.ts";
import { partsOf, type RawPath, Tree, toRaw } from "./tree.ts";
import { unpacked } from "./unpacked.ts";

/** Of the OCI image specification's layers: a file that is not there any more, and a directory with nothing below. */
const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";

const DELETED_FILES_LIMIT = 64 * 1024 * 1024;
const REMEMBERED_LIMIT = 64 * 1024 * 1024;

/**
 * Makes a new container's root file system what it was at the checkpoint, from what the copy says has changed since
 * the image: containerd's layer (gzip, zstd or plain; whiteouts in it), CRI-O's tar and list of deleted files.
 *
 * Guarantees: nothing outside of `rootfs` is touched. Memory does not grow with the files' sizes.
 * Errors: `PartError`; the signal's reason. What was done until then stays.
 */
export async function applyRootfsDiff(options: {
  /** Directory of the copy. */
  copyDir: string;
  engine: CopyIndex["engine"];
  /** Where the new container's root file system is mounted. */
  rootfs: string;
  tools?: Tools;
  signal?: AbortSignal;
}): Promise<Extracted> {
  const { copyDir, engine, rootfs, tools, signal } = options;
  try {
    using tree = new Tree(rootfs);
    const extraction = new Extraction(tree, tools);
    await applyLayer(extraction, join(copyDir, ROOTFS_DIFF), engine === "containerd", signal);
    if (engine === "cri-o") await applyDeleted(extraction, join(copyDir, DELETED_FILES), signal);
    return extraction.finish();
  } catch (error) {
    throw asPartError(error, `${ROOTFS_DIFF} cannot be applied`, signal);
  }
}

async function applyLayer(
  extraction: Extraction,
  path: string,
  hasWhiteouts: boolean,
  signal?: AbortSignal,
): Promise<void> {
  if (!lstatSync(path, { throwIfNoEntry: false })) return;
  const own = new Own();
  for await (const entry of readTarStream(unpacked(path, signal))) {
    signal?.throwIfAborted();
    const parts = partsOf(entry.name);
    const last = parts.at(-1) ?? "";
    if (hasWhiteouts && parts.slice(0, -1).some((part) => part.startsWith(WHITEOUT))) {
      throw new PartError("ArchiveInvalid", `${ROOTFS_DIFF} has something below a whiteout`);
    }
    if (hasWhiteouts && last === OPAQUE) {
      const above = parts.slice(0, -1);
      if (extraction.isDirectory(above)) extraction.remove(above, (name) => own.has(name));
    } else if (hasWhiteouts && last.startsWith(WHITEOUT)) {
      extraction.remove([...parts.slice(0, -1), ...whitedOut(last)]);
    } else {
      own.add(parts);
      await extraction.put(parts, entry, entry.type === "hardlink" ? partsOf(entry.linkName) : []);
    }
  }
}

function whitedOut(name: RawPath): RawPath[] {
  const parts = partsOf(name.slice(WHITEOUT.length) || "/");
  if (parts.length === 1 && !name.startsWith(WHITEOUT + WHITEOUT)) return parts;
  throw new PartError("ArchiveInvalid", `${ROOTFS_DIFF} has a whiteout of nothing`);
}

/** Paths that the layer itself has put there: what makes a directory opaque leaves them. */
class Own {
  readonly #paths = new Set<RawPath>([""]);
  #bytes = 0;

  add(parts: readonly RawPath[]): void {
    for (let length = parts.length; length > 0; length -= 1) {
      const path = parts.slice(0, length).join("/");
      if (this.#paths.has(path)) return;
      this.#paths.add(path);
      this.#bytes += path.length + 64;
    }
    if (this.#bytes > REMEMBERED_LIMIT) {
      throw new PartError(
        "ArchiveInvalid",
        `${ROOTFS_DIFF} has more names, or longer ones, than are extracted`,
      );
    }
  }

  has(path: RawPath): boolean {
    return this.#paths.has(path);
  }
}

async function applyDeleted(extraction: Extraction, path: string, signal?: AbortSignal): Promise<void> {
  if (!lstatSync(path, { throwIfNoEntry: false })) return;
  for (const name of deletedNames(await readSmall(path, DELETED_FILES_LIMIT))) {
    signal?.throwIfAborted();
    const parts = partsOf(toRaw(name.replace(/^\/+/, "")));
    if (parts.length === 0)
      throw new PartError("ArchiveInvalid", `${DELETED_FILES} names the root directory`);
    extraction.remove(parts);
  }
}

function deletedNames(text: string): string[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new PartError("ArchiveInvalid", `${DELETED_FILES} is no JSON`, { cause });
  }
  if (Array.isArray(value) && value.every((name) => typeof name === "string")) return value;
  throw new PartError("ArchiveInvalid", `${DELETED_FILES} is no list of names`);
}
