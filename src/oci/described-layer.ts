import { createHash } from "node:crypto";
import { PassThrough } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createZstdDecompress } from "node:zlib";
import type { Digest } from "./digest.ts";
import { type Descriptor, MEDIA_TYPE } from "./manifest.ts";
import type { BlobSource } from "./source.ts";

/** A layer, wherever its bytes are. */
export interface DescribedLayer extends Descriptor {
  /** The digest of the uncompressed tar, which an image's config names. */
  diffId: Digest;
}

/** How each kind of layer begins (RFC 1952, RFC 8878), and how it is unpacked. */
const COMPRESSIONS = [
  { magic: [0x1f, 0x8b], mediaType: MEDIA_TYPE.layerGzip, unpacker: createGunzip },
  { magic: [0x28, 0xb5, 0x2f, 0xfd], mediaType: MEDIA_TYPE.layerZstd, unpacker: createZstdDecompress },
] as const;

/** Whether a tar is compressed, by how it begins. */
export const isCompressed = async (source: BlobSource): Promise<boolean> =>
  kindOf(await beginning(source)) !== undefined;

/**
 * Reads a tar once to say what it is as a layer: plain, or compressed with gzip or zstd, by how it begins.
 *
 * Errors: the source's own; what the unpacking says of damaged data; the signal's reason.
 */
export async function describeLayer(
  source: BlobSource,
  { signal, onProgress }: { signal?: AbortSignal; onProgress?: (read: number) => void } = {},
): Promise<DescribedLayer> {
  const kind = kindOf(await beginning(source));
  const outer = createHash("sha256");
  const inner = createHash("sha256");
  let read = 0;
  async function* hashed(): AsyncGenerator<Uint8Array> {
    for await (const chunk of source.read(0)) {
      signal?.throwIfAborted();
      outer.update(chunk);
      // The source may overwrite what it has given while an unpacker still has it in its queue.
      if (kind) yield Buffer.from(chunk);
      read += chunk.length;
      onProgress?.(read);
    }
  }
  await pipeline(
    hashed,
    kind?.unpacker() ?? new PassThrough(),
    async (chunks: AsyncIterable<Buffer>) => {
      for await (const chunk of chunks) inner.update(chunk);
    },
    { signal },
  );
  const digest: Digest = `sha256:${outer.digest("hex")}`;
  const diffId: Digest = kind ? `sha256:${inner.digest("hex")}` : digest;
  return { mediaType: kind?.mediaType ?? MEDIA_TYPE.layer, digest, size: source.size, diffId };
}

const kindOf = (head: Uint8Array) =>
  COMPRESSIONS.find(({ magic }) => magic.every((byte, index) => head[index] === byte));

async function beginning(source: BlobSource): Promise<Uint8Array> {
  for await (const chunk of source.read(0)) return Uint8Array.from(chunk.subarray(0, 4));
  return new Uint8Array();
}
