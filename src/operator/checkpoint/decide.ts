import { ARCHIVE_FINALIZER, type Checkpoint, IMAGE_FINALIZER } from "../../api/checkpoint.ts";

export type CheckpointDecision =
  | { type: "nothing" }
  /** The archive's node is gone for good, and the archive with it. */
  | { type: "release-archive" }
  /** The agent has let go: no push can follow. The manifest goes, then the finalizer. */
  | { type: "delete-image"; repository: string | undefined; digest: string | undefined }
  /** Its node is gone before an image existed: no copy is left. */
  | { type: "fail" };

/** What the operator does about a Checkpoint: only its end; everything before is its node's agent's. */
export function decideCheckpoint(checkpoint: Checkpoint, nodeExists: boolean): CheckpointDecision {
  const { metadata, status } = checkpoint;
  const finalizers = metadata.finalizers ?? [];
  if (metadata.deletionTimestamp === undefined) {
    const unfinished = status?.phase !== "ImageBuilt" && status?.phase !== "Failed";
    return unfinished && !nodeExists ? { type: "fail" } : { type: "nothing" };
  }
  if (finalizers.includes(ARCHIVE_FINALIZER))
    return nodeExists ? { type: "nothing" } : { type: "release-archive" };
  if (!finalizers.includes(IMAGE_FINALIZER)) return { type: "nothing" };
  return { type: "delete-image", repository: status?.checkpointImage, digest: status?.imageDigest };
}
