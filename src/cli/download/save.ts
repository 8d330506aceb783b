import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import { access, type FileHandle, open, rename } from "node:fs/promises";
import { KcrError } from "../../api/errors.ts";
import type { RemoteArchive } from "./fetch.ts";

/** Only its owner: whoever reads a checkpoint reads the secrets in it. */
const MODE = 0o600;
const BLOCK_BYTES = 1024 * 1024;

/** A file with what has come so far of another. */
export const partOf = (file: string): string => `${file}.part`;

export interface SaveOptions {
  file: string;
  /** Whether a file that is there is replaced. */
  force: boolean;
  signal: AbortSignal;
  /** Bytes that are there, of how many; `checking` while those of before are read. */
  onProgress?(done: number, state: "checking" | "fetching"): void;
}

/** Errors: KcrError FileExists where there is such a file, and it is not to be replaced. */
export async function assertFree({ file, force }: Pick<SaveOptions, "file" | "force">): Promise<void> {
  const isThere = await access(file).then(
    () => true,
    () => false,
  );
  if (isThere && !force) throw new KcrError("FileExists", `${file} is there already`);
}

/**
 * Writes an archive into a file, by way of `<file>.part`: what is in that from before is gone on from.
 *
 * Guarantees: under its own name there is the whole archive, verified by its digest and on disk, or what was there
 * before. What has come stays for the next try, unless it is known to be wrong.
 * Errors: KcrError FileExists, DownloadDamaged; those of the stream and of the file system; the signal's reason.
 */
export async function save(
  remote: Pick<RemoteArchive, "digest" | "size" | "stream">,
  options: SaveOptions,
): Promise<void> {
  const { file, signal, onProgress = () => {} } = options;
  await assertFree(options);
  await using part = await openPart(partOf(file));
  const before = await part.stat();
  if (before.size > remote.size) await part.truncate(0);
  let digest = await complete();
  // What was there from before may have been of something else.
  if (digest !== remote.digest && before.size > 0) {
    await part.truncate(0);
    digest = await complete();
  }
  if (digest !== remote.digest) {
    await part.truncate(0);
    throw new KcrError(
      "DownloadDamaged",
      `what came has the digest ${digest}, not the archive's ${remote.digest}`,
    );
  }
  await part.sync();
  await assertFree(options);
  await rename(partOf(file), file);

  /** Fetches what is missing; the digest of all. */
  async function complete(): Promise<string> {
    const hash = createHash("sha256");
    let done = await hashFile(part, hash, signal, (bytes) => onProgress(bytes, "checking"));
    onProgress(done, "fetching");
    for await (const chunk of remote.stream(done)) {
      signal.throwIfAborted();
      const written = part.appendFile(chunk);
      hash.update(chunk);
      await written;
      done += chunk.length;
      onProgress(done, "fetching");
    }
    return `sha256:${hash.digest("hex")}`;
  }
}

/**
 * A file that only its owner can read, whatever there was before. In a directory of everybody's another person could
 * have put a link there, or a file that stays his.
 */
async function openPart(path: string): Promise<FileHandle> {
  const { O_RDWR, O_CREAT, O_APPEND, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = constants;
  const foreign = (cause?: unknown) =>
    new KcrError("FileExists", `${path} is there already, and is no file of yours`, { cause });
  const file = await open(path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK, MODE).catch(
    (error: NodeJS.ErrnoException) => {
      throw error.code === "ELOOP" ? foreign(error) : error;
    },
  );
  try {
    const stats = await file.stat();
    const isOwn = process.getuid === undefined || stats.uid === process.getuid();
    if (!stats.isFile() || !isOwn || stats.nlink > 1) throw foreign();
    await file.chmod(MODE);
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function hashFile(
  file: FileHandle,
  hash: Hash,
  signal: AbortSignal,
  onBytes: (done: number) => void,
): Promise<number> {
  const buffer = Buffer.allocUnsafe(BLOCK_BYTES);
  for (let at = 0; ; ) {
    signal.throwIfAborted();
    const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) return at;
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
    onBytes(at);
  }
}
