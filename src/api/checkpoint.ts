import { z } from "zod";
import type { KubeObject } from "../kube/resources.ts";
import { conditions, labelName, labelSelector, objectName, objectReference, rules, time } from "./common.ts";
import { facts } from "./facts.ts";

export const checkpointSpec = z
  .object({
    schedule: z.string().max(256).optional(),
    selector: labelSelector.optional(),
    checkpointScheduleRef: objectReference.optional(),
    checkpointData: z
      .string()
      .min(1)
      .max(255)
      .regex(/^[A-Za-z0-9_][A-Za-z0-9_.:+-]*$/)
      .describe("File name of the archive in its node's checkpoint directory: a name, never a path."),
    checkpointTimestamp: time,
    checkpointID: objectName.describe("The Checkpoint's own name."),
    containerName: labelName,
    nodeName: objectName,
  })
  .meta(
    rules(
      { rule: "self == oldSelf", message: "a Checkpoint records what was: it does not change" },
      { rule: "!self.checkpointData.contains('..')", message: "checkpointData is a file name, not a path" },
    ),
  );
export type CheckpointSpec = z.infer<typeof checkpointSpec>;

export const checkpointPhase = z.enum(["Created", "Processing", "ImageBuilt", "Failed"]);
export type CheckpointPhase = z.infer<typeof checkpointPhase>;

/** The run that a Checkpoint was taken of, and when: enough to go on to its ancestors when it is gone. */
export const origin = z.object({ containerID: z.string().max(128), takenTime: time });
export type Origin = z.infer<typeof origin>;

/** Where a container's state comes from: the run of the container that was dumped, and that run's origin. */
export const lineage = z.object({
  podUID: z.string().max(64),
  containerID: z.string().max(128).describe("Runtime's ID of the container that was dumped."),
  restartCount: z.int().min(0),
  parent: objectName.optional().describe("The Checkpoint that this container had been restored from."),
  parentOrigin: origin.optional().describe("Where the parent came from, should it be deleted."),
});
export type Lineage = z.infer<typeof lineage>;

/** Name of the RuntimeClass, and of its handler, that restores by itself what it is planned to. */
export const RUNTIME_HANDLER = "kcr";

export const handler = z
  .string()
  .max(63)
  .describe("The runtime handler of the pod's class, if it is kcr's own: restored from a copy on its node.");

export const criuOptions = z
  .string()
  .max(256)
  .describe("Options of CRIU's that the pod asked for (annotation kcr.io/criu-options).");

export const checkpointStatus = z.object({
  phase: checkpointPhase.optional(),
  checkpointImage: z.string().max(512).optional().describe("Repository path of the image."),
  runtimeImage: z.string().max(1024).optional().describe("Pull address, repository and digest."),
  conditions: conditions.optional(),
  lastTransitionTime: time.optional(),
  failedReason: z.string().max(32768).optional(),
  lineage: lineage.optional(),
  digest: z.string().max(128).optional().describe("sha256 of the archive."),
  contentDigest: z
    .string()
    .max(128)
    .optional()
    .describe(
      "Digest of the files that the archive is unpacked into: what a copy from another node must have.",
    ),
  imageDigest: z.string().max(128).optional().describe("Digest of the image's manifest."),
  sizeBytes: z.int().min(0).optional(),
  frozenMicroseconds: z.int().min(0).optional().describe("How long CRIU kept the container frozen."),
  pausedMicroseconds: z.int().min(0).optional().describe("How long the container did not run (engine runc)."),
  copiedBytes: z
    .int()
    .min(0)
    .optional()
    .describe("Bytes of its files that were copied meanwhile (engine runc)."),
  engine: z.enum(["kubelet", "runc"]).optional(),
  handler: handler.optional(),
  criuOptions: criuOptions.optional(),
  environment: facts.optional().describe("Where it was taken: what a restore elsewhere is judged by."),
  baseImage: z.string().max(1024).optional().describe("The image the container was first started from."),
  baseImageDigest: z.string().max(1024).optional(),
  specHash: z.string().max(128).optional().describe("Hash of everything the process was given."),
  copies: z
    .array(
      z.object({
        kind: z.enum(["Node", "Registry"]),
        node: objectName.optional(),
        image: z.string().max(1024).optional(),
        verifiedTime: time.optional(),
      }),
    )
    .max(64)
    .optional(),
  restoredCount: z.int().min(0).optional(),
  lastRestoredTime: time.optional(),
});
export type CheckpointStatus = z.infer<typeof checkpointStatus>;

export interface Checkpoint extends KubeObject {
  spec: CheckpointSpec;
  status?: CheckpointStatus;
}

/**
 * A Checkpoint goes only after its bytes: the agent of its node releases the first when the archive is gone,
 * the operator the second when the manifest is gone from the registry (and the first for a lost node).
 */
export const ARCHIVE_FINALIZER = "checkpoint-restore.kcr.io/archive";
export const IMAGE_FINALIZER = "checkpoint-restore.kcr.io/image";

/** Condition types of a Checkpoint. */
export const RESTORABLE = "Restorable";
export const POISONED = "Poisoned";
export const IMAGE_PUSHED = "ImagePushed";
/** Whether its own node has an unpacked copy; there only for those that are to have one. */
export const LOCAL_COPY = "LocalCopy";
/** True since the state that it is of was lost: its container began afresh, or its pod is gone. */
export const LINEAGE_LOST = "LineageLost";
/** False while its manifest cannot be deleted from the registry, and why. */
export const IMAGE_REMOVED = "ImageRemoved";
