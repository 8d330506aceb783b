import { ARCHIVE_FINALIZER, type Checkpoint, LOCAL_COPY } from "../../api/checkpoint.ts";
import { findCondition } from "../../api/conditions.ts";
import type { Settings } from "../../api/settings.ts";
import { mayHaveCopy } from "../store/decide.ts";

/** What a Checkpoint asks of its node's agent now. */
export type ImageDecision =
  | { type: "nothing" }
  /** Its archive is to become an image in the registry. */
  | { type: "push" }
  /** The image is there, and once that is verified the archive is not needed any more. */
  | { type: "release"; repository: string; digest: string }
  /** It is being deleted: archive and copy go first. */
  | { type: "remove" };

/** Decides by the Checkpoint alone. One without a phase is still being described. */
export function decideImage(checkpoint: Checkpoint, node: string, store: Settings["store"]): ImageDecision {
  const { metadata, spec, status } = checkpoint;
  if (spec.nodeName !== node || !metadata.finalizers?.includes(ARCHIVE_FINALIZER)) return { type: "nothing" };
  if (metadata.deletionTimestamp !== undefined) return { type: "remove" };
  if (store === "node") return { type: "nothing" };
  switch (status?.phase) {
    case "Created":
    case "Processing":
      return { type: "push" };
    case "ImageBuilt": {
      const { checkpointImage, imageDigest, conditions } = status;
      // The copy is made of the archive, or was seen not to be made of it.
      const isWaiting = mayHaveCopy(checkpoint, store) && findCondition(conditions, LOCAL_COPY) === undefined;
      if (isWaiting) return { type: "nothing" };
      return checkpointImage !== undefined && imageDigest !== undefined
        ? { type: "release", repository: checkpointImage, digest: imageDigest }
        : { type: "push" };
    }
    case "Failed":
    case undefined:
      return { type: "nothing" };
  }
}
