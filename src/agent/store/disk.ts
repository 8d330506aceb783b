import { createHash, type Hash } from "node:crypto";
import * as fs from "node:fs/promises";
import { dirname } from "node:path";
import { KcrError } from "../../api/errors.ts";

/** What the store asks of the file system: tests fail it at any point. */
export type Disk = Pick<
  typeof fs,
  "link" | "lstat" | "mkdir" | "open" | "readdir" | "readFile" | "rename" | "rm" | "statfs" | "unlink"
>;
export const realDisk: Disk = fs;

/** Only root: what a process had in its memory, passwords included, lies below. */
export const DIRECTORY_MODE = 0o700;
export const FILE_MODE = 0o600;

/** Bytes read at once. */
const CHUNK_BYTES = 256 * 1024;

/** Makes what was done to the names in a directory outlast a loss of power. */
export async function syncDirectory(disk: Disk, path: string): Promise<void> {
  await using directory = await disk.open(path, "r");
  await directory.sync();
}

/** Writes a new file that outlasts a loss of power, but for its name; its size and sha256. Errors: one that is there. */
export async function writeNew(
  disk: Disk,
  path: string,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<{ size: number; sha256: string }> {
  await using file = await NewFile.open(disk, path);
  for await (const chunk of chunks) await file.write(chunk);
  return await file.finish();
}

/** A new file that is written piece by piece. */
export class NewFile implements AsyncDisposable {
  readonly #file: fs.FileHandle;
  readonly #hash = createHash("sha256");
  #size = 0;

  private constructor(file: fs.FileHandle) {
    this.#file = file;
  }

  /** Errors: one that is there. */
  static async open(disk: Disk, path: string): Promise<NewFile> {
    return new NewFile(await disk.open(path, "wx", FILE_MODE));
  }

  async write(chunk: Uint8Array): Promise<void> {
    const written = this.#file.writeFile(chunk);
    this.#hash.update(chunk);
    this.#size += chunk.length;
    await written;
  }

  /** Has what was written outlast a loss of power, but for its name. */
  async finish(): Promise<{ size: number; sha256: string }> {
    await this.#file.sync();
    return { size: this.#size, sha256: this.#hash.digest("hex") };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#file.close();
  }
}

/** Makes a directory unless it is there; Node's `recursive` says ENOENT of a file system that cannot be written to. */
export async function ensureDirectory(disk: Disk, path: string): Promise<void> {
  await disk.mkdir(path, { mode: DIRECTORY_MODE }).catch((error: unknown) => {
    if (codeOf(error) !== "EEXIST") throw error;
  });
}

/** Whether the node's own disk is what failed: from elsewhere the same would not fit either. */
export const isDiskFault = (error: unknown): boolean =>
  error instanceof KcrError && (error.code === "DiskFull" || error.code === "DiskReadOnly");

/** Leaves a file that says something by being there, also after a loss of power. */
export async function leaveMark(disk: Disk, path: string, text: string): Promise<void> {
  await using file = await disk.open(path, "w", FILE_MODE);
  await file.writeFile(text);
  await file.sync();
  await syncDirectory(disk, dirname(path));
}

/** sha256 and size of a regular file as it is on disk. Errors: those of the file system; the signal's reason. */
export async function hashFile(
  disk: Disk,
  path: string,
  signal?: AbortSignal,
): Promise<{ size: number; sha256: string }> {
  const hash: Hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  let size = 0;
  await using file = await disk.open(path, "r");
  for (;;) {
    signal?.throwIfAborted();
    const { bytesRead } = await file.read(buffer, 0, buffer.length, size);
    if (bytesRead === 0) return { size, sha256: hash.digest("hex") };
    hash.update(buffer.subarray(0, bytesRead));
    size += bytesRead;
  }
}

export const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException)?.code;

/** For `catch`: a file that is not there is undefined; any other error stays one. */
export function missing(error: unknown): undefined {
  if (codeOf(error) === "ENOENT") return undefined;
  throw error;
}

/** An error of the file system as it is, but for a disk that is full or takes nothing: what did not fit where is told. */
export function diskError(error: unknown, directory: string, bytes: number): unknown {
  switch (codeOf(error)) {
    case "ENOSPC":
    case "EDQUOT":
      return new KcrError("DiskFull", `${directory} has no room for a copy of ${bytes} bytes`, {
        cause: error,
      });
    case "EROFS":
      return new KcrError("DiskReadOnly", `${directory} cannot be written to`, { cause: error });
    default:
      return error;
  }
}
