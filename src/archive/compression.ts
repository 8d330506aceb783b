import { Readable, type Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createZstdDecompress } from "node:zlib";
import type { Bytes } from "./bytes.ts";
import { ArchiveError } from "./errors.ts";

export type Compression = "none" | "gzip" | "zstd";

/** RFC 1952 and RFC 8878. */
const GZIP_MAGIC = Buffer.from([0x1f, 0x8b]);
const ZSTD_MAGIC = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);
const CHUNK_BYTES = 256 * 1024;

/** How bytes are compressed, by how they begin. */
export async function compressionOf(bytes: Bytes): Promise<Compression> {
  const head = await bytes.read(0, Math.min(4, bytes.size));
  if (head.subarray(0, 2).equals(GZIP_MAGIC)) return "gzip";
  return head.equals(ZSTD_MAGIC) ? "zstd" : "none";
}

/** The bytes in order, in pieces of their own. */
export async function* chunksOf(bytes: Bytes, signal?: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
  for (let at = 0; at < bytes.size; at += CHUNK_BYTES) {
    signal?.throwIfAborted();
    yield await bytes.read(at, Math.min(CHUNK_BYTES, bytes.size - at));
  }
}

/**
 * The bytes as a stream, unpacked when they are compressed.
 *
 * Errors: `ArchiveError`: `malformed` for a compressed stream that is damaged (its checksums are checked) or ends
 * early; the source's own; the signal's reason.
 */
export async function* unpacked(bytes: Bytes, signal?: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
  const compression = await compressionOf(bytes);
  if (compression === "none") return yield* chunksOf(bytes, signal);
  const unpack: Transform = compression === "gzip" ? createGunzip() : createZstdDecompress();
  const source = Readable.from(chunksOf(bytes, signal), { objectMode: false });
  // What fails in the source ends the last stream too, and is thrown by reading it.
  const feeding = pipeline(source, unpack).catch(() => {});
  try {
    for await (const chunk of unpack) yield chunk;
  } catch (cause) {
    if (!isOfZlib(cause)) throw cause;
    throw new ArchiveError("malformed", `${bytes.name}: damaged ${compression} data (${cause.message})`, {
      cause,
    });
  } finally {
    source.destroy();
    await feeding;
  }
}

/** node:zlib's errors carry zlib's or zstd's own names and numbers. */
function isOfZlib(error: unknown): error is Error {
  const { code = "" } = error as NodeJS.ErrnoException;
  return error instanceof Error && /^(?:Z_|ZSTD_)/.test(code);
}
