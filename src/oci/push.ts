import { readFile } from "node:fs/promises";
import type { Digest } from "./digest.ts";
import { RegistryError } from "./errors.ts";
import { blobPath, type LayoutImage } from "./layout.ts";
import { type Descriptor, type Document, type Manifest, parseManifest } from "./manifest.ts";
import type { RegistryClient } from "./registry.ts";
import { bytesSource, FileSource } from "./source.ts";

export interface Pushed extends Descriptor {
  /** Bytes of blobs that had to be sent; what was there already is not counted. */
  pushedBytes: number;
}

/** Uploads a small blob unless it is there. Returns how many bytes were sent. */
export async function pushDocument(
  client: RegistryClient,
  repository: string,
  document: Document,
  signal?: AbortSignal,
): Promise<number> {
  const { digest, bytes } = document;
  if ((await client.headBlob(repository, digest, { signal })) === bytes.length) return 0;
  return (await client.uploadBlob({ repository, source: bytesSource(bytes), digest, signal })).sentBytes;
}

/**
 * Pushes the image of an OCI layout directory. Blobs that the repository has are not sent again.
 *
 * Errors: `RegistryError`, those of the file system, the signal's reason.
 */
export async function pushLayout(
  client: RegistryClient,
  image: LayoutImage,
  repository: string,
  tag: string,
  { signal }: { signal?: AbortSignal } = {},
): Promise<Pushed> {
  const { directory, descriptor, manifest } = image;
  let pushedBytes = 0;
  for (const { digest, size } of [...manifest.layers, manifest.config]) {
    if ((await client.headBlob(repository, digest, { signal })) === size) continue;
    await using source = await FileSource.open(blobPath(directory, digest));
    pushedBytes += (await client.uploadBlob({ repository, source, digest, signal })).sentBytes;
  }
  const bytes = await readFile(blobPath(directory, descriptor.digest));
  await client.putManifest(repository, tag, { ...descriptor, bytes }, { signal });
  return { ...descriptor, pushedBytes };
}

/**
 * Looks whether an image is in a registry whole: its manifest, read back and checked against the digest, and each
 * blob it names, by the registry's own account.
 *
 * Errors: `not-found` when the manifest or a blob is not there; `digest-mismatch` when one has other bytes or
 * another size.
 */
export async function verifyImage(
  client: RegistryClient,
  repository: string,
  digest: Digest,
  { signal }: { signal?: AbortSignal } = {},
): Promise<Manifest> {
  const document = await client.getManifest(repository, digest, { signal });
  const manifest = readManifest(document, client, repository);
  for (const blob of [manifest.config, ...manifest.layers]) {
    const size = await client.headBlob(repository, blob.digest, { signal });
    if (size === blob.size) continue;
    const details = { registry: client.address, repository };
    if (size === undefined)
      throw new RegistryError("not-found", `blob ${blob.digest} of ${digest} is not there`, details);
    const what = `blob ${blob.digest} of ${digest} has ${size} bytes, not ${blob.size}`;
    throw new RegistryError("digest-mismatch", what, details);
  }
  return manifest;
}

function readManifest(document: Document, client: RegistryClient, repository: string): Manifest {
  try {
    return parseManifest(document.bytes);
  } catch (cause) {
    const details = { registry: client.address, repository, cause };
    throw new RegistryError("protocol", `${document.digest} is no image manifest`, details);
  }
}
