import { ARCHIVE_FINALIZER, type Checkpoint, IMAGE_FINALIZER } from "../../api/checkpoint.ts";

export type CheckpointDecision =
  | { type: "nothing" }
  /** The archive's node is gone for good, and the archive with it. */
  | { type: "release-archive" }
  /** The agent has let go: no push can follow. The manifest goes, then the finalizer. */
  | { type: "delete-image" }
  /** Its node is gone before an image existed: no copy is left. */
  | { type: "fail" };

const isUnfinished = ({ status }: Checkpoint): boolean =>
  status?.phase !== "ImageBuilt" && status?.phase !== "Failed";

/** Whether it matters that the Checkpoint's node exists. */
export const needsNode = (checkpoint: Checkpoint): boolean =>
  checkpoint.metadata.deletionTimestamp === undefined
    ? isUnfinished(checkpoint)
    : (checkpoint.metadata.finalizers ?? []).includes(ARCHIVE_FINALIZER);

/** What the operator does about a Checkpoint: only its end; everything before is its node's agent's. */
export function decideCheckpoint(checkpoint: Checkpoint, nodeExists: boolean): CheckpointDecision {
  const { metadata } = checkpoint;
  const finalizers = metadata.finalizers ?? [];
  if (metadata.deletionTimestamp === undefined) {
    return isUnfinished(checkpoint) && !nodeExists ? { type: "fail" } : { type: "nothing" };
  }
  if (finalizers.includes(ARCHIVE_FINALIZER))
    return nodeExists ? { type: "nothing" } : { type: "release-archive" };
  if (!finalizers.includes(IMAGE_FINALIZER)) return { type: "nothing" };
  return { type: "delete-image" };
}
