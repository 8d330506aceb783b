import { ARCHIVE_FINALIZER, type Checkpoint } from "../../api/checkpoint.ts";

/** What a Checkpoint asks of its node's agent now. */
export type ImageDecision =
  | { type: "nothing" }
  /** Its archive is to become an image in the registry. */
  | { type: "push" }
  /** The image is there, and once that is verified the archive is not needed any more. */
  | { type: "release"; repository: string; digest: string }
  /** It is being deleted: the archive goes first. */
  | { type: "remove" };

/** Decides by the Checkpoint alone. One without a phase is still being described. */
export function decideImage({ metadata, spec, status }: Checkpoint, node: string): ImageDecision {
  if (spec.nodeName !== node || !metadata.finalizers?.includes(ARCHIVE_FINALIZER)) return { type: "nothing" };
  if (metadata.deletionTimestamp !== undefined) return { type: "remove" };
  switch (status?.phase) {
    case "Created":
    case "Processing":
      return { type: "push" };
    case "ImageBuilt": {
      const { checkpointImage, imageDigest } = status;
      return checkpointImage !== undefined && imageDigest !== undefined
        ? { type: "release", repository: checkpointImage, digest: imageDigest }
        : { type: "push" };
    }
    case "Failed":
    case undefined:
      return { type: "nothing" };
  }
}
