import { KcrError } from "../../api/errors.ts";
import { checkpointAnnotations, userOf } from "../../archive/annotations.ts";
import { openCheckpoint } from "../../archive/checkpoint.ts";
import type { CheckpointImageConfig } from "../../oci/checkpoint-image.ts";

/** What an image of an archive is to say of it. */
export interface ArchiveImage {
  config: CheckpointImageConfig;
  annotations: Record<string, string>;
}

/**
 * Reads what the image of an archive, a local file, has to carry.
 *
 * Errors: KcrError ArchiveInvalid for one that could not be restored; `ArchiveError`; those of the file system.
 */
export async function imageOf(path: string, signal: AbortSignal): Promise<ArchiveImage> {
  await using archive = await openCheckpoint(path, { signal, mayBeCompressed: true });
  const { problems, architecture } = archive;
  if (architecture === undefined || problems.length > 0) {
    throw new KcrError("ArchiveInvalid", problems.join("; ") || `${path}: for an unknown processor`);
  }
  return { config: { architecture, user: userOf(archive) }, annotations: checkpointAnnotations(archive) };
}
