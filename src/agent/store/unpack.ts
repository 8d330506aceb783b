import { createHash } from "node:crypto";
import { join } from "node:path";
import { KcrError } from "../../api/errors.ts";
import { FileBytes } from "../../archive/bytes.ts";
import { openImage } from "../../archive/criu/image.ts";
import { filesOpenForWriting } from "../../archive/criu/open-files.ts";
import { ArchiveError } from "../../archive/errors.ts";
import {
  bindMountsOf,
  engineOf,
  type Identity,
  identityOf,
  parseConfigDump,
  parseSpecDump,
  parseStatusDump,
} from "../../archive/metadata.ts";
import { walkTar } from "../../archive/tar-walk.ts";
import {
  ARCHIVE_REST,
  BIND_MOUNTS,
  CHECKPOINT_DIRECTORY,
  CONFIG_DUMP,
  COPY_VERSION,
  type CopyFile,
  type CopyIndex,
  DELETED_FILES,
  isOfSharedPages,
  isPageData,
  isRelative,
  PLAIN_COPY_VERSION,
  ROOTFS_DIFF,
  type SharedPages,
  SPEC_DUMP,
  STATUS_DUMP,
  WHOLE_DIRECTORY,
} from "../../store/copy.ts";
import { type Disk, ensureDirectory, NewFile, writeNew } from "./disk.ts";
import { type Base, PageSharing } from "./share-pages.ts";

/** A checkpoint archive that can be read from its beginning. */
export interface ArchiveStream {
  /** For messages. */
  name: string;
  /** In bytes. */
  size: number;
  /** sha256 in hex, where it is known beforehand. */
  digest?: string | undefined;
  /** A chunk may be overwritten once the next has been asked for. */
  read(signal: AbortSignal): AsyncIterable<Uint8Array>;
}

/** What an archive was unpacked into, and whose it says it is. */
export interface Unpacked {
  index: CopyIndex;
  identity: Identity;
}

const KEPT: ReadonlySet<string> = new Set([
  CONFIG_DUMP,
  SPEC_DUMP,
  STATUS_DUMP,
  ROOTFS_DIFF,
  DELETED_FILES,
  BIND_MOUNTS,
]);
/** Longest name of a file that file systems take, in bytes. */
const NAME_BYTES = 255;
/** The metadata that is held to be read. */
const METADATA_BYTES = 8 * 1024 * 1024;

/**
 * Whether a copy keeps the entry of that name: CRIU's directory, which has no others in it, and what a restore needs
 * besides. All other names are passed over, wherever they would lead.
 */
export function isKept(name: string): boolean {
  if (KEPT.has(name)) return true;
  const [directory, file, ...more] = name.split("/");
  return (
    directory === CHECKPOINT_DIRECTORY &&
    file !== undefined &&
    more.length === 0 &&
    isRelative(name) &&
    Buffer.byteLength(file) <= NAME_BYTES
  );
}

/**
 * Writes what a restore needs of an archive into `directory`, which must not exist, and what else there is of it into a
 * file beside that, in one pass that also hashes the archive and every file.
 *
 * With `base`, a copy that the archive is likely to be much alike, pages that it has already are not written again.
 * Guarantees: on return every file is on disk (its name is for the caller to sync), the archive was whole and, where
 * its digest is known, the right one. Nothing is written but new regular files of names that are known.
 * Errors: KcrError ArchiveInvalid for an archive that is damaged, cut short, another than expected or that no runtime
 * restores from; those of the file system and of the stream; the signal's reason. `directory` is left as it is then.
 */
export async function unpack(
  disk: Disk,
  archive: ArchiveStream,
  directory: string,
  signal: AbortSignal,
  base?: Base,
): Promise<Unpacked> {
  return await invalidWhere(() => unpackInto(disk, archive, directory, signal, base));
}

/** What an archive is found to be wrong with, as people are told it. */
async function invalidWhere<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ArchiveError)) throw error;
    throw new KcrError("ArchiveInvalid", error.message, { cause: error });
  }
}

async function unpackInto(
  disk: Disk,
  { name, digest, read }: ArchiveStream,
  directory: string,
  signal: AbortSignal,
  base: Base | undefined,
): Promise<Unpacked> {
  const sharing = base && new PageSharing(disk, directory, base);
  for (const path of [directory, join(directory, CHECKPOINT_DIRECTORY)]) await ensureDirectory(disk, path);
  const hash = createHash("sha256");
  let files: CopyFile[] = [];
  await using rest = await NewFile.open(disk, join(directory, ARCHIVE_REST));
  const walking = walkTar(name, read(signal), {
    signal,
    onBytes: (bytes) => hash.update(bytes),
    onRest: (bytes) => rest.write(bytes),
  });
  for await (const entry of walking) {
    if (!isKept(entry.name)) continue;
    if (entry.type !== "file") {
      throw new ArchiveError("malformed", `${name}: ${JSON.stringify(entry.name)} is no regular file`);
    }
    const change = await sharing?.take(entry, files);
    if (change !== undefined) {
      files = [...files.filter(({ path }) => !change.remove.includes(path)), ...change.add];
      continue;
    }
    const file = {
      path: entry.name,
      ...(await writeNew(disk, join(directory, entry.name), entry.content())),
    };
    files.push(file);
    await sharing?.saw(file);
  }
  files.push({ path: ARCHIVE_REST, ...(await rest.finish()) });
  const sha256 = hash.digest("hex");
  if (digest !== undefined && digest !== sha256) {
    throw new KcrError("ArchiveInvalid", `${name} is damaged: its sha256 is ${sha256}, not ${digest}`);
  }
  return await readMetadata(disk, name, sha256, directory, files, await sharing?.finish());
}

/** Most files that a copy has. */
const FILES = 100_000;

/** Errors: KcrError ArchiveInvalid for files that no archive is unpacked into, and for shared pages of none of them. */
export function assertFiles(
  name: string,
  files: readonly CopyFile[],
  shared: readonly SharedPages[] = [],
): void {
  const invalid = (what: string): KcrError => new KcrError("ArchiveInvalid", `${name}: ${what}`);
  if (files.length > FILES) throw invalid(`${files.length} files, more than ${FILES}`);
  const paths = new Set<string>();
  for (const { path } of files) {
    if (path !== ARCHIVE_REST && !isKept(path) && !isOfSharedPages(path))
      throw invalid(`${JSON.stringify(path)} is no file of a checkpoint`);
    if (paths.has(path)) throw invalid(`${JSON.stringify(path)} is there twice`);
    paths.add(path);
  }
  const known = new Map(files.map((file) => [file.path, file]));
  const seen = new Set<string>();
  for (const { id, pages, pagemap } of shared) {
    const whole = known.get(`${WHOLE_DIRECTORY}/pagemap-${id}.img`);
    const isOfFiles =
      pagemap.path === `${CHECKPOINT_DIRECTORY}/pagemap-${id}.img` &&
      known.has(pagemap.path) &&
      whole?.size === pagemap.size &&
      whole.sha256 === pagemap.sha256 &&
      isPageData(pages.path) &&
      isKept(pages.path) &&
      known.has(pages.path);
    if (!isOfFiles) throw invalid(`the pages of process ${id} are not of its files`);
    for (const path of [pagemap.path, pages.path]) {
      if (seen.has(path)) throw invalid(`${JSON.stringify(path)} is shared twice`);
      seen.add(path);
    }
  }
}

/** What the files of a copy in `directory` say of themselves. Errors: as those of {@link unpack}. */
export const describe = (
  disk: Disk,
  name: string,
  archive: string,
  directory: string,
  files: readonly CopyFile[],
  shared?: readonly SharedPages[],
): Promise<Unpacked> => invalidWhere(() => readMetadata(disk, name, archive, directory, [...files], shared));

/** Reads what the unpacked files say of themselves, and sees that nothing is missing without which none restores. */
async function readMetadata(
  disk: Disk,
  name: string,
  archive: string,
  directory: string,
  files: CopyFile[],
  shared: readonly SharedPages[] = [],
): Promise<Unpacked> {
  const sizes = new Map(files.map(({ path, size }) => [path, size]));
  const text = async (path: string): Promise<string | undefined> => {
    const size = sizes.get(path);
    if (size === undefined) return undefined;
    if (size > METADATA_BYTES) {
      throw new ArchiveError("too-large", `${name}: ${path} has ${size} bytes, more than ${METADATA_BYTES}`);
    }
    return await disk.readFile(join(directory, path), "utf8");
  };
  const need = (path: string, found: string | undefined): string => {
    if (found === undefined) throw new ArchiveError("missing", `${name}: has no ${path}`);
    return found;
  };
  const open = (path: string): Promise<FileBytes> => FileBytes.open(join(directory, need(path, known(path))));
  const known = (path: string): string | undefined => (sizes.has(path) ? path : undefined);
  const images = (pattern: RegExp): string[] =>
    files.map(({ path }) => path).filter((path) => pattern.test(path));

  const config = parseConfigDump(name, need(CONFIG_DUMP, await text(CONFIG_DUMP)));
  const spec = parseSpecDump(name, need(SPEC_DUMP, await text(SPEC_DUMP)));
  const statusText = await text(STATUS_DUMP);
  const status = statusText === undefined ? undefined : parseStatusDump(name, statusText);
  const engine = engineOf(name, spec);
  if (engine === "podman") {
    throw new ArchiveError("unsupported", `${name}: made by Podman, which no node's runtime restores from`);
  }
  for (const kind of ["inventory", "pstree"] as const) {
    await using image = await open(`${CHECKPOINT_DIRECTORY}/${kind}.img`);
    await openImage(image, kind);
  }
  const [core] = images(/^checkpoint\/core-[0-9]+\.img$/);
  need("process (checkpoint/core-*.img)", core);
  return {
    index: {
      version: shared.length === 0 ? PLAIN_COPY_VERSION : COPY_VERSION,
      archive,
      engine,
      files,
      openForWriting: await openForWriting(),
      mounts: bindMountsOf(spec),
      ...(shared.length === 0 ? {} : { shared: [...shared] }),
    },
    identity: identityOf(name, engine, config, spec, status),
  };

  async function openForWriting(): Promise<string[]> {
    // CRIU writes it always: without it there would not even be a working directory.
    await using list = await open(`${CHECKPOINT_DIRECTORY}/files.img`);
    return await filesOpenForWriting(list, memory());
  }
  async function* memory(): AsyncGenerator<FileBytes, void, undefined> {
    for (const path of images(/^checkpoint\/mm-[0-9]+\.img$/)) {
      await using image = await open(path);
      yield image;
    }
  }
}
