import { execFileSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  ftruncateSync,
  futimesSync,
  lchownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  renameSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import { errnoOf, PartError } from "./errors.ts";
import type { TarEntry } from "./tar-reader.ts";
import { fromRaw, type Place, type RawPath, raw, type Tree } from "./tree.ts";

/** What Node cannot do itself. Paths are good for other processes as long as the call lasts. */
export interface Tools {
  /** Errors: any; the extraction ends with it. */
  makeNode(path: string, type: "character" | "block" | "fifo", major: number, minor: number): void;
  /** False where attributes cannot be set; follows a link. Errors: any; the extraction ends with it. */
  setAttribute(path: string, name: string, value: Buffer): boolean;
}

/** mknod(1) of coreutils or busybox, and setfattr(1), which many nodes do not have. */
export const SYSTEM_TOOLS: Tools = {
  makeNode(path, type, major, minor) {
    const args = type === "fifo" ? [path, "p"] : [path, type === "block" ? "b" : "c", `${major}`, `${minor}`];
    execFileSync("mknod", args, { stdio: ["ignore", "ignore", "pipe"] });
  },
  setAttribute(path, name, value) {
    try {
      const args = ["--name", name, "--value", `0x${value.toString("hex")}`, "--", path];
      execFileSync("setfattr", args, { stdio: ["ignore", "ignore", "pipe"] });
      return true;
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return false;
      throw error;
    }
  },
};

/** What an extraction has changed. */
export interface Extracted {
  files: number;
  directories: number;
  symlinks: number;
  hardLinks: number;
  /** Pipes and devices. */
  nodes: number;
  removed: number;
  /** What could not be brought over, in words, at most 16. */
  leftOut: string[];
}

const LEFT_OUT_LIMIT = 16;
/** Of all paths that are remembered until the end: directories, whose times their content changes. */
const REMEMBERED_LIMIT = 64 * 1024 * 1024;
/** Others mean something to the overlay or the kernel, and are no business of an archive. */
const isAllowedAttribute = (name: string): boolean =>
  name === "security.capability" || name.startsWith("user.");

const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const SAME_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const SAME_NODE = 0o10000000 | constants.O_NOFOLLOW;
const NODE_NAME = ".kcr-node";

/**
 * Puts entries of a tar into a tree, as root: owners, modes, times, links, pipes, devices, extended attributes.
 * What is in the way of another type is replaced; a file is always made anew, never written through a link.
 *
 * Guarantees: nothing outside of the tree is read or changed, whatever the names and link names are.
 * Errors: `PartError`; the system's. What was done until then stays.
 */
export class Extraction {
  readonly result: Extracted = {
    files: 0,
    directories: 0,
    symlinks: 0,
    hardLinks: 0,
    nodes: 0,
    removed: 0,
    leftOut: [],
  };
  readonly #tree: Tree;
  readonly #tools: Tools;
  readonly #times: { parts: readonly RawPath[]; mtime: number }[] = [];
  #remembered = 0;

  constructor(tree: Tree, tools: Tools = SYSTEM_TOOLS) {
    this.#tree = tree;
    this.#tools = tools;
  }

  /** `linkParts`: for a hard link, what it is to. No parts: the tree's own directory. */
  async put(parts: readonly RawPath[], entry: TarEntry, linkParts: readonly RawPath[] = []): Promise<void> {
    const { type } = entry;
    if (type === "directory") return this.#directory(parts, entry);
    if (parts.length === 0) {
      throw new PartError("ArchiveInvalid", `the tar has a ${type} in the place of its root directory`);
    }
    if (type === "hardlink") return this.#hardLink(parts, linkParts);
    this.result.removed += this.#tree.remove(parts);
    using place = this.#tree.at(parts, { make: true });
    switch (type) {
      case "file":
        return await this.#file(place, entry);
      case "symlink":
        return this.#symlink(place, entry);
      case "fifo":
      case "character":
      case "block":
        return this.#node(place, entry, type);
    }
  }

  remove(parts: readonly RawPath[], keep?: (path: RawPath) => boolean): void {
    this.result.removed += this.#tree.remove(parts, keep);
  }

  isDirectory(parts: readonly RawPath[]): boolean {
    return parts.length === 0 || this.#tree.stat(parts)?.isDirectory() === true;
  }

  /** To be called after the last entry. */
  finish(): Extracted {
    for (const { parts, mtime } of this.#times.reverse()) {
      if (parts.length === 0) {
        lutimesOf(raw(`${this.#tree.root}/.`), mtime);
        continue;
      }
      // What came later in the archive may have replaced it.
      if (!this.#tree.stat(parts)?.isDirectory()) continue;
      using place = this.#tree.at(parts);
      lutimesOf(place.path, mtime);
    }
    return this.result;
  }

  #directory(parts: readonly RawPath[], entry: TarEntry): void {
    this.#remembered += parts.reduce((sum, part) => sum + part.length, 64);
    if (this.#remembered > REMEMBERED_LIMIT) {
      throw new PartError(
        "ArchiveInvalid",
        "the tar has more directories, or longer names, than are extracted",
      );
    }
    if (parts.length === 0) this.#own(`${this.#tree.root}/.`, entry);
    else {
      const before = this.#tree.stat(parts);
      if (before && !before.isDirectory()) this.result.removed += this.#tree.remove(parts);
      using place = this.#tree.at(parts, { make: true });
      if (!before?.isDirectory()) mkdirSync(place.path, 0o700);
      this.#own(place.path, entry);
    }
    this.#times.push({ parts, mtime: entry.mtime });
    this.result.directories += 1;
  }

  #own(path: Buffer | string, entry: TarEntry): void {
    const fd = openSync(path, SAME_DIRECTORY);
    try {
      this.#attributes(fd, entry);
    } finally {
      closeSync(fd);
    }
  }

  async #file(place: Place, entry: TarEntry): Promise<void> {
    const fd = openSync(place.path, NEW_FILE, 0o600);
    try {
      let at = 0;
      for await (const chunk of entry.content()) {
        // Holes stay holes: a file of nothing but its size does not fill the node's disk.
        if (!isZeros(chunk)) {
          for (let done = 0; done < chunk.length; ) {
            done += writeSync(fd, chunk, done, chunk.length - done, at + done);
          }
        }
        at += chunk.length;
      }
      ftruncateSync(fd, at);
      this.#attributes(fd, entry);
      futimesSync(fd, entry.mtime, entry.mtime);
    } finally {
      closeSync(fd);
    }
    this.result.files += 1;
  }

  #symlink(place: Place, entry: TarEntry): void {
    if (entry.linkName === "")
      throw new PartError("ArchiveInvalid", "the tar has a symbolic link to nothing");
    symlinkSync(raw(entry.linkName), place.path);
    lchownSync(place.path, entry.uid, entry.gid);
    lutimesOf(place.path, entry.mtime);
    this.result.symlinks += 1;
  }

  #hardLink(parts: readonly RawPath[], linkParts: readonly RawPath[]): void {
    const isItself = linkParts.join("/") === parts.join("/");
    if (isItself || !isLinkable(this.#tree, linkParts)) {
      const [name, target] = [parts, linkParts].map((path) => JSON.stringify(fromRaw(path.join("/"))));
      throw new PartError("ArchiveInvalid", `the tar has a hard link ${name} to ${target}, which is no file`);
    }
    // A directory that is in the way may hold what is linked to: linked first, put in its place then.
    using target = this.#tree.at(linkParts);
    using place = this.#tree.at(parts, { make: true });
    const made = Buffer.from(`${place.directory}/${NODE_NAME}`);
    this.#tree.remove([...parts.slice(0, -1), NODE_NAME]);
    linkSync(target.path, made);
    this.result.removed += this.#tree.remove(parts);
    renameSync(made, place.path);
    this.result.hardLinks += 1;
  }

  /** Made under a plain name, as other programs take no names that are not UTF-8. */
  #node(place: Place, entry: TarEntry, type: "character" | "block" | "fifo"): void {
    const made = `${place.directory}/${NODE_NAME}`;
    try {
      this.#tools.makeNode(made, type, entry.major, entry.minor);
    } catch (cause) {
      throw new PartError("RestoreFailed", `a ${type} of the checkpoint cannot be made on this node`, {
        cause,
      });
    }
    renameSync(made, place.path);
    const fd = openSync(place.path, SAME_NODE);
    try {
      lchownSync(place.path, entry.uid, entry.gid);
      chmodSync(`/proc/self/fd/${fd}`, entry.mode);
    } finally {
      closeSync(fd);
    }
    lutimesOf(place.path, entry.mtime);
    this.result.nodes += 1;
  }

  /** The owner first: a change of it takes setuid and capabilities away. */
  #attributes(fd: number, { uid, gid, mode, xattrs }: TarEntry): void {
    fchownSync(fd, uid, gid);
    fchmodSync(fd, mode);
    for (const [name, value] of xattrs) {
      const isSet =
        isAllowedAttribute(name) && this.#tools.setAttribute(`/proc/${process.pid}/fd/${fd}`, name, value);
      if (!isSet && this.result.leftOut.length < LEFT_OUT_LIMIT) {
        this.result.leftOut.push(`extended attribute ${JSON.stringify(name.slice(0, 100))}`);
      }
    }
  }
}

const ZEROS = Buffer.alloc(256 * 1024);
const isZeros = (chunk: Buffer): boolean =>
  chunk.length <= ZEROS.length && chunk.equals(ZEROS.subarray(0, chunk.length));

const lutimesOf = (path: Buffer, mtime: number): void => lutimesSync(path, mtime, mtime);

function isLinkable(tree: Tree, parts: readonly RawPath[]): boolean {
  return parts.length > 0 && tree.stat(parts)?.isDirectory() === false;
}
