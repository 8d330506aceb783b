import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  opendirSync,
  openSync,
  rmdirSync,
  type Stats,
  unlinkSync,
} from "node:fs";
import { errnoOf, PartError } from "./errors.ts";

/**
 * A file's name or path as the kernel has it, a byte per character (latin1), so that names that are no UTF-8 stay
 * what they are.
 */
export type RawPath = string;

export const raw = (path: RawPath): Buffer => Buffer.from(path, "latin1");
export const toRaw = (text: string): RawPath => Buffer.from(text).toString("latin1");
export const fromRaw = (path: RawPath): string => raw(path).toString("utf8");

/** open(2) on Linux; Node has no name for it. */
const O_PATH = 0o10000000;
const DIRECTORY = O_PATH | constants.O_DIRECTORY;
const WITHOUT_LINK = DIRECTORY | constants.O_NOFOLLOW;

/**
 * A name in an opened directory. `path` leads to it through /proc/self/fd, whatever is renamed or put in the place
 * of its parents meanwhile; its last part is followed as the system call that gets it does.
 */
export interface Place extends Disposable {
  readonly path: Buffer;
  /** Path of the directory that it is in, for other processes of this machine too. */
  readonly directory: string;
}

/**
 * A directory, and everything below it reached one opened directory at a time: no symbolic link is followed, no
 * mount entered, so nothing outside is ever touched, not even with processes at work in it.
 */
export class Tree implements Disposable {
  readonly #fd: number;
  readonly #device: number;
  readonly name: string;

  /** Errors: the system's. */
  constructor(path: string) {
    this.name = path;
    this.#fd = openSync(path, DIRECTORY);
    this.#device = fstatSync(this.#fd).dev;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }

  /** Path of the tree's own directory. */
  get root(): string {
    return `/proc/self/fd/${this.#fd}`;
  }

  /**
   * The place of that name; with `make`, directories that are missing on the way are made. Errors: `PartError` for
   * a way through a link, a file or another mount; the system's, such as ENOENT.
   */
  at(parts: readonly RawPath[], { make = false } = {}): Place {
    const parents = parts.slice(0, -1);
    const last = parts.at(-1);
    if (last === undefined) throw new TypeError("the tree itself is no place in it");
    let fd = openSync(this.root, DIRECTORY);
    try {
      for (const part of parents) {
        const next = this.#open(fd, part, make);
        closeSync(fd);
        fd = next;
      }
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    return {
      path: inside(fd, last),
      directory: `/proc/${process.pid}/fd/${fd}`,
      [Symbol.dispose]: () => closeSync(fd),
    };
  }

  /** What is there, a link not followed; undefined when nothing is. */
  stat(parts: readonly RawPath[]): Stats | undefined {
    try {
      using place = this.at(parts);
      return lstatSync(place.path);
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  /**
   * Removes what is of that name, with all that is in it; of a directory only what `keep` does not hold (a kept one
   * is looked through all the same). The tree itself (no parts) is emptied. Returns how many were removed.
   */
  remove(parts: readonly RawPath[], keep: (path: RawPath) => boolean = () => false): number {
    if (parts.length === 0) {
      const fd = openSync(this.root, DIRECTORY);
      try {
        return this.#empty(fd, "", keep);
      } finally {
        closeSync(fd);
      }
    }
    try {
      using place = this.at(parts);
      return this.#drop(place.path, parts.join("/"), keep);
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return 0;
      throw error;
    }
  }

  /** Names in a directory of it; without parts in its own. Errors: as of `at`. */
  names(parts: readonly RawPath[] = []): RawPath[] {
    using place = this.at([...parts, "."]);
    const directory = opendirSync(place.directory, { encoding: "latin1" });
    try {
      const names: RawPath[] = [];
      for (let entry = directory.readSync(); entry; entry = directory.readSync()) names.push(entry.name);
      return names;
    } finally {
      directory.closeSync();
    }
  }

  #open(fd: number, part: RawPath, make: boolean): number {
    const path = inside(fd, part);
    const child = openedDirectory(path, make);
    if (child === undefined) {
      throw new PartError("ArchiveInvalid", `${this.name}: ${JSON.stringify(fromRaw(part))} is no directory`);
    }
    if (fstatSync(child).dev === this.#device) return child;
    closeSync(child);
    throw new PartError(
      "RestoreFailed",
      `${this.name}: something is mounted at ${JSON.stringify(fromRaw(part))}`,
    );
  }

  #drop(path: Buffer, name: RawPath, keep: (path: RawPath) => boolean): number {
    if (!lstatSync(path).isDirectory()) {
      if (keep(name)) return 0;
      unlinkSync(path);
      return 1;
    }
    const fd = openSync(path, WITHOUT_LINK);
    let removed: number;
    try {
      if (fstatSync(fd).dev !== this.#device) {
        throw new PartError(
          "RestoreFailed",
          `${this.name}: something is mounted at ${JSON.stringify(fromRaw(name))}`,
        );
      }
      removed = this.#empty(fd, name, keep);
    } finally {
      closeSync(fd);
    }
    if (keep(name)) return removed;
    rmdirSync(path);
    return removed + 1;
  }

  /** Reads again until nothing is left to remove: what is removed while it is read may hide what follows. */
  #empty(fd: number, name: RawPath, keep: (path: RawPath) => boolean): number {
    let removed = 0;
    for (let before = -1; before !== removed; ) {
      before = removed;
      const directory = opendirSync(`/proc/self/fd/${fd}`, { encoding: "latin1" });
      try {
        for (let entry = directory.readSync(); entry; entry = directory.readSync()) {
          removed += this.#drop(
            inside(fd, entry.name),
            name === "" ? entry.name : `${name}/${entry.name}`,
            keep,
          );
        }
      } finally {
        directory.closeSync();
      }
    }
    return removed;
  }
}

const inside = (fd: number, name: RawPath): Buffer => raw(`/proc/self/fd/${fd}/${name}`);

/** Undefined when something else than a directory is there. */
function openedDirectory(path: Buffer, make: boolean): number | undefined {
  for (;;) {
    try {
      return openSync(path, WITHOUT_LINK);
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === "ENOTDIR" || errno === "ELOOP") return undefined;
      if (errno !== "ENOENT" || !make) throw error;
      mkdirSync(path, 0o755);
    }
  }
}

/**
 * The parts of a name of an archive. Errors: `PartError` for an absolute one, one with `..`, and one that the
 * system could not have.
 */
export function partsOf(name: RawPath): RawPath[] {
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  const isBad =
    name === "" ||
    name.startsWith("/") ||
    name.includes("\0") ||
    name.length > 4096 ||
    parts.some((part) => part === ".." || part.length > 255);
  if (isBad) {
    const shown = JSON.stringify(fromRaw(name.slice(0, 200)));
    throw new PartError("ArchiveInvalid", `${shown} is no name of a file below a directory`);
  }
  return parts;
}
