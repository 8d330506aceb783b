import { constants } from "node:fs";
import { type FileHandle, open as openHandle } from "node:fs/promises";
import { PartError } from "./errors.ts";

/**
 * A regular file for reading, as it stands in its directory: no link is followed, and a pipe does not make it wait.
 * Errors: `PartError` when it is something else; the system's.
 */
export async function openRegular(path: string): Promise<{ file: FileHandle; size: number }> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await openHandle(path, flags);
  try {
    const stats = await file.stat();
    if (!stats.isFile()) throw new PartError("RestoreFailed", `${path} is no regular file`);
    return { file, size: stats.size };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** All of a small file as text. Errors: as `openRegular`, and `PartError` beyond `limit` bytes. */
export async function readSmall(path: string, limit: number): Promise<string> {
  const { file, size } = await openRegular(path);
  try {
    if (size > limit) throw new PartError("RestoreFailed", `${path} has ${size} bytes, more than ${limit}`);
    const buffer = Buffer.alloc(size);
    let length = 0;
    for (let read = -1; read !== 0 && length < size; length += read) {
      ({ bytesRead: read } = await file.read(buffer, length, size - length, length));
    }
    return buffer.toString("utf8", 0, length);
  } finally {
    await file.close();
  }
}
