import { type ImageFile, writeCheckpointImage } from "../../oci/image-file.ts";
import type { Reference } from "../../oci/reference.ts";
import { FileSource } from "../../oci/source.ts";
import type { Io } from "../io.ts";
import { startProgress } from "../output/progress.ts";
import { imageOf } from "./archive.ts";

export interface BuildOptions {
  /** Path of the archive. */
  archive: string;
  /** What the image is called. */
  reference: Reference;
  /** A path that ends in ".tar", or of a directory that is made. */
  output: string;
}

/**
 * Makes an image of an archive in an OCI layout, without anything else being installed.
 *
 * Errors: as `imageOf` and `writeCheckpointImage`.
 */
export async function buildArchive(io: Io, { archive, reference, output }: BuildOptions): Promise<ImageFile> {
  const { signal } = io;
  const image = await imageOf(archive, signal);
  await using source = await FileSource.open(archive);
  using progress = startProgress(io, `building ${output}`);
  const onProgress = (done: number) => progress.update({ done, total: 2 * source.size });
  return await writeCheckpointImage({ ...image, archive: source, reference, output, signal, onProgress });
}
