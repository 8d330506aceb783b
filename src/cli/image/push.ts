import { type CheckpointImage, pushCheckpointImage } from "../../oci/checkpoint-image.ts";
import { describeLayer, isCompressed } from "../../oci/described-layer.ts";
import { formatReference, type Reference } from "../../oci/reference.ts";
import type { RegistryClient } from "../../oci/registry.ts";
import { FileSource } from "../../oci/source.ts";
import type { Io } from "../io.ts";
import { startProgress } from "../output/progress.ts";
import { imageOf } from "./archive.ts";

export interface PushOptions {
  /** Path of the archive. */
  archive: string;
  /** With a tag. */
  reference: Reference & { tag: string };
  client: RegistryClient;
}

/**
 * Pushes an archive as the image that containerd and CRI-O restore from. An archive that is compressed is read
 * once more, for the digest of what is in it.
 *
 * Errors: as `imageOf` and `pushCheckpointImage`.
 */
export async function pushArchive(
  io: Io,
  { archive, reference, client }: PushOptions,
): Promise<CheckpointImage> {
  const { signal } = io;
  const image = await imageOf(archive, signal);
  await using source = await FileSource.open(archive);
  const total = source.size;
  using progress = startProgress(io, `pushing to ${formatReference(reference)}`);
  const report = (text?: string) => (done: number) => progress.update({ text, done, total });
  const layer = (await isCompressed(source))
    ? await describeLayer(source, { signal, onProgress: report("reading the compressed archive") })
    : undefined;
  const { repository, tag } = reference;
  return await pushCheckpointImage({
    ...image,
    client,
    repository,
    tag,
    archive: source,
    compressed: layer,
    layerDigest: layer?.digest,
    signal,
    onProgress: report(),
  });
}
