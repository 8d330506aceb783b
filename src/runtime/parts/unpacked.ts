import { pipeline } from "node:stream";
import { openRegular } from "./open-file.ts";

/**
 * The bytes of a file, unpacked if it is gzip or zstd. Errors: as `openRegular`; what the unpacking says; the
 * signal's reason.
 */
export async function* unpacked(path: string, signal?: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
  const { file } = await openRegular(path);
  const head = Buffer.alloc(4);
  try {
    await file.read(head, 0, head.length, 0);
  } catch (error) {
    await file.close();
    throw error;
  }
  const source = file.createReadStream({ start: 0, highWaterMark: 256 * 1024, signal });
  const unpack = await unpackerOf(head);
  // What fails in the source ends the last stream too, and is thrown by reading it.
  const chunks = unpack ? pipeline(source, unpack, () => {}) : source;
  try {
    for await (const chunk of chunks) yield chunk;
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  } finally {
    source.destroy();
  }
}

async function unpackerOf(head: Buffer): Promise<import("node:stream").Transform | undefined> {
  if (head.readUInt16BE(0) === 0x1f8b) return (await import("node:zlib")).createGunzip();
  if (head.readUInt32BE(0) === 0x28b52ffd) return (await import("node:zlib")).createZstdDecompress();
  return undefined;
}
