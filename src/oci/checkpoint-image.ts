import type { DescribedLayer } from "./described-layer.ts";
import type { Digest } from "./digest.ts";
import {
  type Descriptor,
  type Document,
  descriptorOf,
  encodeConfig,
  encodeManifest,
  MEDIA_TYPE,
} from "./manifest.ts";
import { type Pushed, pushDocument, verifyImage } from "./push.ts";
import { assertOwnName, assertTag } from "./reference.ts";
import type { RegistryClient } from "./registry.ts";
import { type BlobSource, FileSource } from "./source.ts";

export interface CheckpointImageConfig {
  /** GOARCH of the checkpointed process: amd64, arm64 ... */
  architecture: string;
  /** GOOS; default linux. */
  os?: string;
  /** The process's user as in an image config, "999:999". A pod with runAsNonRoot needs it. */
  user?: string;
}

export interface CheckpointImageOptions {
  client: RegistryClient;
  repository: string;
  tag: string;
  /** The tar that the kubelet wrote: its path or its bytes. */
  archive: string | BlobSource;
  /** What is to be known of a tar that is compressed; see `describeLayer`. */
  compressed?: Pick<DescribedLayer, "mediaType" | "diffId">;
  config: CheckpointImageConfig;
  /** The manifest's; the runtimes know a checkpoint by them. */
  annotations: Readonly<Record<string, string>>;
  /** The archive's digest where it is known: when the registry has it, the archive is not even read. */
  layerDigest?: Digest;
  signal?: AbortSignal;
  /** Called with how many bytes of the archive have been sent. */
  onProgress?: (sent: number) => void;
}

export interface CheckpointImage extends Pushed {
  layer: { digest: Digest; size: number };
}

/**
 * Makes an image of a checkpoint archive in a registry. The archive, byte for byte, is the image's only layer, so
 * it is neither unpacked nor compressed nor copied: it is read once, and hashed while it is sent.
 *
 * Guarantees: on return the image is in the registry whole, as `verifyImage` sees it. The same archive and options
 * give the same digest, so doing it again is harmless. Memory does not grow with the archive.
 * Errors: `RegistryError`, `ImageNameError`, `SourceChangedError` when the archive is written to meanwhile, those
 * of the file system, the signal's reason.
 */
export async function pushCheckpointImage(options: CheckpointImageOptions): Promise<CheckpointImage> {
  const { client, repository, tag, archive, layerDigest, signal, onProgress } = options;
  assertOwnName(client.address, repository);
  assertTag(tag);
  await using file = typeof archive === "string" ? await FileSource.open(archive) : undefined;
  const source = file ?? (archive as BlobSource);
  const { digest, sentBytes } =
    (await stored(options, source.size)) ??
    (await client.uploadBlob({ repository, source, digest: layerDigest, signal, onProgress }));
  const { mediaType, diffId } = options.compressed ?? { mediaType: MEDIA_TYPE.layer, diffId: digest };
  const layer: Descriptor = { mediaType, digest, size: source.size };
  const { config, manifest } = encodeCheckpointImage({ ...layer, diffId }, options);
  const pushedBytes = sentBytes + (await pushDocument(client, repository, config, signal));
  await client.putManifest(repository, tag, manifest, { signal });
  await verifyImage(client, repository, manifest.digest, { signal });
  return { ...descriptorOf(manifest), layer: { digest, size: layer.size }, pushedBytes };
}

/** The documents of an image that has an archive for its only layer. */
export function encodeCheckpointImage(
  layer: DescribedLayer,
  image: Pick<CheckpointImageOptions, "config" | "annotations">,
): { config: Document; manifest: Document } {
  const { architecture, os = "linux", user } = image.config;
  const { diffId, ...descriptor } = layer;
  const config = encodeConfig({ architecture, os, container: { user }, diffIds: [diffId] });
  return { config, manifest: encodeManifest(descriptorOf(config), [descriptor], image.annotations) };
}

async function stored({ client, repository, layerDigest, signal }: CheckpointImageOptions, size: number) {
  if (layerDigest === undefined) return undefined;
  const found = await client.headBlob(repository, layerDigest, { signal });
  return found === size ? { digest: layerDigest, sentBytes: 0 } : undefined;
}
