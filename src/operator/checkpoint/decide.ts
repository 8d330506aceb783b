import { ARCHIVE_FINALIZER, type Checkpoint, IMAGE_FINALIZER } from "../../api/checkpoint.ts";

export type CheckpointDecision =
  | { type: "nothing" }
  /** Nobody answers for the archive's node: it is gone, or was silent for long enough. */
  | { type: "release-archive" }
  /** The node is silent: look again when its agent has had its time. */
  | { type: "wait"; ms: number }
  /** The agent has let go: no push can follow. The manifest goes, then the finalizer. */
  | { type: "delete-image" }
  /** Its node is gone before an image existed: no copy is left. */
  | { type: "fail" };

/** What is known of the node that a Checkpoint's archive is on. */
export type NodeStanding =
  /** It is heard of. */
  | "there"
  /** Kubernetes has not heard of its kubelet for so long that the node's condition Ready is Unknown. */
  | "silent"
  /** The API server says that there is none. */
  | "gone";

/**
 * How long after a deletion the agent of a silent node has to remove what it has: it is alive when only the kubelet is
 * not, and does that within seconds then. In milliseconds.
 */
const SILENT_MS = 20_000;

const isUnfinished = ({ status }: Checkpoint): boolean =>
  status?.phase !== "ImageBuilt" && status?.phase !== "Failed";

/** Whether it matters how the Checkpoint's node stands. */
export const needsNode = (checkpoint: Checkpoint): boolean =>
  checkpoint.metadata.deletionTimestamp === undefined
    ? isUnfinished(checkpoint)
    : (checkpoint.metadata.finalizers ?? []).includes(ARCHIVE_FINALIZER);

/** What the operator does about a Checkpoint: only its end; everything before is its node's agent's. */
export function decideCheckpoint(checkpoint: Checkpoint, node: NodeStanding, now: Date): CheckpointDecision {
  const { metadata } = checkpoint;
  const finalizers = metadata.finalizers ?? [];
  if (metadata.deletionTimestamp === undefined) {
    return isUnfinished(checkpoint) && node === "gone" ? { type: "fail" } : { type: "nothing" };
  }
  if (finalizers.includes(ARCHIVE_FINALIZER)) {
    if (node === "there") return { type: "nothing" };
    const left = Date.parse(metadata.deletionTimestamp) + SILENT_MS - now.getTime();
    return node === "silent" && left > 0 ? { type: "wait", ms: left } : { type: "release-archive" };
  }
  if (!finalizers.includes(IMAGE_FINALIZER)) return { type: "nothing" };
  return { type: "delete-image" };
}
