import { randomUUID } from "node:crypto";
import { dirname, join } from "node:path";
import { KcrError } from "../../api/errors.ts";
import type { Identity } from "../../archive/metadata.ts";
import {
  CHECKPOINT_DIRECTORY,
  COPY_INDEX,
  COPY_VERSION,
  CORRUPT_MARK,
  type CopyFile,
  type CopyIndex,
  isOfSharedPages,
  parseCopyIndex,
  type SharedPages,
} from "../../store/copy.ts";
import { isSha256, type Layout } from "../../store/layout.ts";
import { laterProtocolIn } from "../../store/protocol.ts";
import { Locks } from "../locks.ts";
import {
  codeOf,
  DIRECTORY_MODE,
  type Disk,
  diskError,
  ensureDirectory,
  hashFile,
  leaveMark,
  missing,
  realDisk,
  syncDirectory,
  writeNew,
} from "./disk.ts";
import { type Base, mayBeBase } from "./share-pages.ts";
import { type ArchiveStream, assertFiles, describe, type Unpacked, unpack } from "./unpack.ts";

/** One copy, as its directory shows it. */
export interface Copy {
  /** sha256 of the archive. */
  digest: string;
  /** Undefined when it cannot be read: the copy is corrupt then, unless an agent of a later version made it. */
  index: CopyIndex | undefined;
  corrupt: boolean;
  /** When it was made. */
  made: Date;
}

/** Files that come from elsewhere. */
export interface IncomingFiles {
  /** Where from, for messages. */
  name: string;
  /** sha256 of the archive that they are of. */
  archive: string;
  files: readonly CopyFile[];
  /** Of a copy that shares pages. */
  shared?: readonly SharedPages[] | undefined;
}

/** Key of the lock under which content is shared and dropped. */
const CONTENT = "content";

/**
 * The unpacked checkpoints of one node: `store/` of kcr's directory (see {@link Layout}).
 *
 * Guarantees: a copy is there whole or not at all, whenever the process is killed or the power goes: it is made in
 * `tmp/`, written to disk, read back, and renamed last. Files with the same content are one file. What `start` finds
 * half-made it removes.
 * Assumptions: one agent per node; others (the handler, a scrub by hand) read and mark, nothing else.
 */
export class LocalStore {
  readonly layout: Layout;
  readonly #disk: Disk;
  readonly #locks = new Locks();

  constructor(layout: Layout, disk: Disk = realDisk) {
    this.layout = layout;
    this.#disk = disk;
  }

  /** Makes the directories and clears away what a process that was killed left half-made. */
  async start(): Promise<void> {
    const { blobs, copies, tmp, allIncoming } = this.layout;
    for (const path of [blobs, copies, tmp, allIncoming]) {
      await this.#disk.mkdir(path, { recursive: true, mode: DIRECTORY_MODE });
    }
    for (const name of await this.#disk.readdir(tmp)) {
      await this.#disk.rm(join(tmp, name), { recursive: true, force: true });
    }
    await this.#collect();
  }

  /** All copies, in no order. */
  async list(): Promise<Copy[]> {
    const names = (await this.#disk.readdir(this.layout.copies).catch(missing)) ?? [];
    const found = await Promise.all(names.filter(isSha256).map((digest) => this.find(digest)));
    return found.filter((copy) => copy !== undefined);
  }

  /** The copy of that archive, as far as its index tells; its files are not looked at. */
  async find(digest: string): Promise<Copy | undefined> {
    const directory = this.layout.copy(digest);
    const stats = await this.#disk.lstat(directory).catch(missing);
    if (stats === undefined) return undefined;
    const { index, isLater } = await this.#readIndex(digest);
    const mark = await this.#disk.lstat(join(directory, CORRUPT_MARK)).catch(missing);
    const corrupt = (index === undefined && !isLater) || mark !== undefined;
    return { digest, index, corrupt, made: stats.mtime };
  }

  /** Whether there is a copy of that archive that nobody found damaged. */
  async has(digest: string): Promise<boolean> {
    return (await this.find(digest))?.corrupt === false;
  }

  /**
   * Makes a copy of an archive, verified. A damaged copy of it makes way.
   *
   * `accept` is shown whose the archive says it is before there is a copy, and throws when it must not be. Pages that
   * the copy `baseDigest` has already are shared with it, if that is sound and no long chain of such copies.
   * Errors: those of `unpack`; KcrError DiskFull when there is no room; nothing is left of what was begun.
   */
  async add(
    archive: ArchiveStream,
    signal: AbortSignal,
    accept: (identity: Identity) => void = () => {},
    baseDigest?: string,
  ): Promise<CopyIndex> {
    const { root, tmp } = this.layout;
    await this.#assertRoom(archive.size);
    const directory = join(tmp, randomUUID());
    let unpacked: Unpacked | undefined;
    let base: Base | undefined;
    try {
      base = baseDigest === undefined ? undefined : await this.#base(baseDigest);
      unpacked = await unpack(this.#disk, archive, directory, signal, base);
      accept(unpacked.identity);
      return await this.#complete(directory, unpacked.index, signal);
    } catch (error) {
      // What cannot be removed now goes at the next start.
      await this.#abandon(directory, unpacked?.index.files ?? []).catch(() => {});
      if (base !== undefined && mayBeOfBase(error) && !signal.aborted) {
        // Whose fault it is shows without the base; its own verification tells of it if it is that one's.
        return await this.add(archive, signal, accept);
      }
      throw diskError(error, root, archive.size);
    } finally {
      // The base may have gone while its content had names here that are no more.
      if (base !== undefined) await this.#dropContent(base.index.files).catch(() => {});
    }
  }

  /**
   * Makes a copy of files that come one by one, from another node: each content once, and none that is here already.
   * `fetch` has the file at the path it is given hold that content and be on disk, and has read it back; what it leaves
   * there when it fails is there again at the next try, whoever makes it.
   *
   * Assumptions: whoever calls knows that these are the files of that archive. What the copy's index says besides is
   * read from the files, as {@link add} does.
   * Errors: those of `add`, and of `fetch`.
   */
  async addFiles(
    { name, archive, files, shared }: IncomingFiles,
    fetch: (file: CopyFile, path: string, signal: AbortSignal) => Promise<void>,
    signal: AbortSignal,
    accept: (identity: Identity) => void = () => {},
  ): Promise<CopyIndex> {
    assertFiles(name, files, shared);
    using _lock = await this.#locks.take(archive);
    const incoming = this.layout.incoming(archive);
    const contents = new Map(files.map((file) => [file.sha256, file]));
    const bytes = contents.values().reduce((sum, { size }) => sum + size, 0);
    const directory = join(this.layout.tmp, randomUUID());
    try {
      await ensureDirectory(this.#disk, incoming);
      await this.#assertRoom(bytes - (await this.#bytesIn(incoming)));
      for (const [sha256, file] of contents) {
        const path = join(incoming, sha256);
        if (!(await this.#share(file, path, signal))) await fetch(file, path, signal);
      }
      for (const path of ["", ...directoriesOf(files).reverse()]) {
        await ensureDirectory(this.#disk, join(directory, path));
      }
      for (const { path, sha256 } of files) {
        await this.#disk.link(join(incoming, sha256), join(directory, path));
      }
      const { index, identity } = await describe(this.#disk, name, archive, directory, files, shared);
      accept(identity);
      await this.#complete(directory, index, signal, { isReadBack: true });
      await this.dropIncoming(archive);
      return index;
    } catch (error) {
      // What cannot be removed now goes at the next start.
      await this.#abandon(directory, files).catch(() => {});
      const told = diskError(error, this.layout.root, bytes);
      // Another try would not have another end, or needs the room.
      if (told instanceof KcrError) await this.dropIncoming(archive).catch(() => {});
      throw told;
    }
  }

  async #base(digest: string): Promise<Base | undefined> {
    const found = await this.find(digest);
    if (found?.index === undefined || found.corrupt || !mayBeBase(found.index)) return undefined;
    return { directory: this.layout.copy(digest), index: found.index };
  }

  /** The copies of which files have come and that were not finished, and when anything last came of each. */
  async incoming(): Promise<{ archive: string; touched: Date }[]> {
    const names = (await this.#disk.readdir(this.layout.allIncoming).catch(missing)) ?? [];
    const found = await Promise.all(
      names.filter(isSha256).map(async (archive) => {
        const directory = this.layout.incoming(archive);
        const files = (await this.#disk.readdir(directory).catch(missing)) ?? [];
        const stats = await Promise.all(
          ["", ...files].map((file) => this.#disk.lstat(join(directory, file)).catch(missing)),
        );
        return { archive, touched: new Date(Math.max(...stats.map((file) => file?.mtimeMs ?? 0))) };
      }),
    );
    return found;
  }

  /** Removes what has come of a copy. */
  async dropIncoming(archive: string): Promise<void> {
    using _lock = await this.#locks.take(CONTENT);
    const incoming = this.layout.incoming(archive);
    const names = (await this.#disk.readdir(incoming).catch(missing)) ?? [];
    await this.#discard(
      incoming,
      names.filter(isSha256).map((sha256) => ({ sha256 })),
    );
  }

  /**
   * What is wrong with a copy, a sentence each, after reading all of it; nothing for one that is gone meanwhile, or of a
   * later protocol.
   * Errors: those of the file system, and the signal's reason: a disk that cannot be read is not a damaged copy -
   * but an input/output error is.
   */
  async verify(digest: string, signal: AbortSignal): Promise<string[]> {
    const directory = this.layout.copy(digest);
    const { index, isLater } = await this.#readIndex(digest);
    const problems: string[] = [];
    if (index === undefined && !isLater) problems.push(`${COPY_INDEX} cannot be read`);
    for (const file of index?.files ?? []) {
      const problem = await this.#problemOf(join(directory, file.path), file, signal);
      if (problem !== undefined) problems.push(`${file.path}: ${problem}`);
    }
    const isGone = (await this.#disk.lstat(directory).catch(missing)) === undefined;
    return isGone ? [] : problems;
  }

  /** Leaves a mark on a copy, by which it is not used and made anew. */
  async markCorrupt(digest: string, why: string): Promise<void> {
    await leaveMark(this.#disk, join(this.layout.copy(digest), CORRUPT_MARK), `${why}\n`).catch(missing);
  }

  /** Removes a copy, and the content that no other shares; one that is gone is fine. */
  async remove(digest: string): Promise<void> {
    using _lock = await this.#locks.take(CONTENT);
    const { index } = await this.#readIndex(digest);
    const away = await this.#moveAway(digest);
    if (away === undefined) return;
    await this.#discard(away, index?.files ?? []);
    if (index === undefined) await this.#collect();
  }

  /** Bytes of all content; what copies share counts once. */
  async usedBytes(): Promise<number> {
    const { blobs } = this.layout;
    let bytes = 0;
    for (const name of (await this.#disk.readdir(blobs).catch(missing)) ?? []) {
      bytes += (await this.#disk.lstat(join(blobs, name)).catch(missing))?.size ?? 0;
    }
    return bytes;
  }

  /** Bytes that are free where the store lies. */
  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await this.#disk.statfs(this.layout.tmp);
    return bavail * bsize;
  }

  /** Whether the last agent ended as it should. To be asked once: from then on it is taken to have been killed. */
  async wasCleanlyStopped(): Promise<boolean> {
    const mark = this.layout.clean;
    const wasClean = (await this.#disk.unlink(mark).then(() => true, missing)) === true;
    if (wasClean) await syncDirectory(this.#disk, dirname(mark));
    return wasClean;
  }

  /** Says that this agent ends as it should. */
  async markCleanStop(): Promise<void> {
    await leaveMark(this.#disk, this.layout.clean, "");
  }

  async #assertRoom(bytes: number): Promise<void> {
    const free = await this.freeBytes();
    if (free >= bytes) return;
    throw new KcrError(
      "DiskFull",
      `${this.layout.root} has no room for a copy of ${bytes} bytes: ${free} are free`,
    );
  }

  async #bytesIn(directory: string): Promise<number> {
    let bytes = 0;
    for (const name of await this.#disk.readdir(directory)) {
      bytes += (await this.#disk.lstat(join(directory, name)).catch(missing))?.size ?? 0;
    }
    return bytes;
  }

  async #readIndex(digest: string): Promise<{ index: CopyIndex | undefined; isLater: boolean }> {
    const path = join(this.layout.copy(digest), COPY_INDEX);
    const text = (await this.#disk.readFile(path, "utf8").catch(missing)) ?? "";
    const index = parseCopyIndex(text);
    return {
      index: index?.archive === digest ? index : undefined,
      isLater: laterProtocolIn(text, COPY_VERSION) !== undefined,
    };
  }

  /** Verified files become a copy: their directory must not be used from then on. */
  async #complete(
    directory: string,
    index: CopyIndex,
    signal: AbortSignal,
    { isReadBack = false } = {},
  ): Promise<CopyIndex> {
    using _lock = await this.#locks.take(CONTENT);
    for (const file of index.files) await this.#settle(directory, file, signal, isReadBack);
    await writeNew(this.#disk, join(directory, COPY_INDEX), [Buffer.from(JSON.stringify(index))]);
    for (const path of directoriesOf(index.files)) await syncDirectory(this.#disk, join(directory, path));
    await syncDirectory(this.#disk, this.layout.blobs);
    await this.#publish(directory, index.archive);
    return index;
  }

  /** Has `path` be the content of a file that a copy here has, if that is sound. */
  async #share(file: CopyFile, path: string, signal: AbortSignal): Promise<boolean> {
    using _lock = await this.#locks.take(CONTENT);
    // Shared content of an earlier try: never to be written to.
    const old = await this.#disk.lstat(path).catch(missing);
    if (old !== undefined && old.nlink > 1) await this.#disk.unlink(path);
    const blob = this.layout.blob(file.sha256);
    if ((await this.#problemOf(blob, file, signal)) !== undefined) return false;
    if (old?.nlink === 1) await this.#disk.unlink(path);
    await this.#disk.link(blob, path);
    return true;
  }

  /**
   * Makes a file that was just written one with the content of the same sha256, and reads back what the copy will
   * hold: a disk that changes what it is given is found here.
   */
  async #settle(directory: string, file: CopyFile, signal: AbortSignal, isReadBack: boolean): Promise<void> {
    const path = join(directory, file.path);
    const blob = this.layout.blob(file.sha256);
    const shared = await this.#disk.lstat(blob).catch(missing);
    // Of two names of one file neither can take the other's place.
    const isOne = shared !== undefined && shared.ino === (await this.#disk.lstat(path)).ino;
    if (isReadBack && isOne) return;
    if (shared !== undefined && (await this.#problemOf(blob, file, signal)) === undefined) {
      if (isOne) return;
      // Pages were compared with this file: the content that it should have is not what they were found to be equal to.
      if (!isReadBack && isOfSharedPages(file.path)) await this.#assertSound(path, file, signal);
      const twin = join(this.layout.tmp, randomUUID());
      await this.#disk.link(blob, twin);
      await this.#disk.rename(twin, path);
      return;
    }
    if (!isReadBack) await this.#assertSound(path, file, signal);
    // Copies that share damaged content keep it, to be found by their own verification.
    if (shared !== undefined) await this.#disk.unlink(blob);
    await this.#disk.link(path, blob);
  }

  async #assertSound(path: string, file: CopyFile, signal: AbortSignal): Promise<void> {
    const problem = await this.#problemOf(path, file, signal);
    if (problem !== undefined) throw new KcrError("CopyCorrupt", `${path} was written, but ${problem}`);
  }

  async #publish(directory: string, digest: string): Promise<void> {
    const copy = this.layout.copy(digest);
    const old = await this.#moveAway(digest);
    await this.#disk.rename(directory, copy);
    await syncDirectory(this.#disk, this.layout.copies);
    // Its content is that of the new copy, but for what was damaged.
    if (old !== undefined) await this.#disk.rm(old, { recursive: true, force: true });
  }

  async #moveAway(digest: string): Promise<string | undefined> {
    const away = join(this.layout.tmp, randomUUID());
    const moved = await this.#disk.rename(this.layout.copy(digest), away).then(() => true, missing);
    if (moved) await syncDirectory(this.#disk, this.layout.copies);
    return moved ? away : undefined;
  }

  async #abandon(directory: string, files: readonly CopyFile[]): Promise<void> {
    using _lock = await this.#locks.take(CONTENT);
    await this.#discard(directory, files);
  }

  /** Removes a directory, and the content that nothing else holds then. */
  async #discard(directory: string, files: readonly Pick<CopyFile, "sha256">[]): Promise<void> {
    await this.#disk.rm(directory, { recursive: true, force: true });
    for (const { sha256 } of files) await this.#dropUnused(this.layout.blob(sha256));
  }

  async #dropContent(files: readonly Pick<CopyFile, "sha256">[]): Promise<void> {
    using _lock = await this.#locks.take(CONTENT);
    for (const { sha256 } of files) await this.#dropUnused(this.layout.blob(sha256));
  }

  /** Removes all content that no copy holds. */
  async #collect(): Promise<void> {
    const { blobs } = this.layout;
    for (const name of await this.#disk.readdir(blobs)) await this.#dropUnused(join(blobs, name));
  }

  async #dropUnused(blob: string): Promise<void> {
    const stats = await this.#disk.lstat(blob).catch(missing);
    if (stats?.nlink === 1) await this.#disk.unlink(blob).catch(missing);
  }

  async #problemOf(path: string, file: CopyFile, signal: AbortSignal): Promise<string | undefined> {
    try {
      if (!(await this.#disk.lstat(path)).isFile()) return "it is no regular file";
      const { size, sha256 } = await hashFile(this.#disk, path, signal);
      if (size !== file.size) return `it has ${size} bytes, not ${file.size}`;
      return sha256 === file.sha256 ? undefined : `its sha256 is ${sha256}, not ${file.sha256}`;
    } catch (error) {
      switch (codeOf(error)) {
        case "ENOENT":
          return "it is gone";
        case "EIO":
          return "the disk cannot read it";
        default:
          throw error;
      }
    }
  }
}

/** The directories of these files, each before the one that it is in; a copy always has that of CRIU's images. */
function directoriesOf(files: readonly CopyFile[]): string[] {
  const found = new Set(["", CHECKPOINT_DIRECTORY]);
  for (const { path } of files) {
    for (let above = dirname(path); above !== "."; above = dirname(above)) found.add(above);
  }
  return [...found].sort().reverse();
}

/** What reading and linking an earlier copy's files fails with, besides what they hold. */
const FAULTS_OF_FILES: ReadonlySet<string | undefined> = new Set(["EIO", "ENOENT", "EMLINK"]);

const mayBeOfBase = (error: unknown): boolean =>
  error instanceof KcrError
    ? error.code === "CopyCorrupt" || error.code === "ArchiveInvalid"
    : FAULTS_OF_FILES.has(codeOf(error));
