import { z } from "zod";
import type { KubeObject } from "../kube/resources.ts";
import { conditions, labelName, objectName, rules, time } from "./common.ts";

export const DEFAULT_RESTORE_TIMEOUT_SECONDS = 300;

export const restoreSpec = z
  .object({
    checkpointName: objectName.describe("The Checkpoint, of the same namespace, to go back to."),
    podReference: z.object({ name: objectName.describe("The pod, of the same namespace.") }),
    containerName: labelName
      .optional()
      .describe("The container to take back; default: the one that the Checkpoint was taken of."),
    discardCurrent: z
      .boolean()
      .default(false)
      .describe("True takes the container back without a checkpoint of what it is now."),
    timeoutSeconds: z.int().min(1).max(86_400).default(DEFAULT_RESTORE_TIMEOUT_SECONDS),
  })
  .meta(rules({ rule: "self == oldSelf", message: "a CheckpointRestore does not change: make a new one" }));
export type RestoreSpec = z.input<typeof restoreSpec>;

export const restorePhase = z.enum(["Pending", "SavingCurrent", "Restoring", "Completed", "Failed"]);
export type RestorePhase = z.infer<typeof restorePhase>;

export const restoreStrategy = z.enum(["Runtime", "Image"]);
export type RestoreStrategy = z.infer<typeof restoreStrategy>;

export const restoreStatus = z.object({
  phase: restorePhase.optional(),
  savedCheckpoint: objectName
    .optional()
    .describe("The Checkpoint made of what the container was before it was taken back."),
  strategy: restoreStrategy.optional().describe("How it is done, known from phase Restoring on."),
  message: z.string().max(32768).optional(),
  reason: z
    .string()
    .max(256)
    .optional()
    .describe("Stable error code of a Failed restore, or what it waits for."),
  nodeName: objectName.optional().describe("The pod's node, whose agent arms the restore."),
  podUID: z.string().max(64).optional(),
  containerName: labelName.optional().describe("The container, once resolved."),
  containerID: z
    .string()
    .max(128)
    .optional()
    .describe("Runtime's ID of the run that is replaced; empty for a container that was never created."),
  originalImage: z.string().max(1024).optional().describe("The container's image before it was rewritten."),
  startTime: time.optional(),
  acceptedTime: time.optional().describe("When it was checked and begun; the deadline runs from here."),
  completionTime: time.optional(),
  conditions: conditions.optional(),
});
export type RestoreStatus = z.infer<typeof restoreStatus>;

/** A restore that a person asks for: one container goes back to one Checkpoint. */
export interface CheckpointRestore extends KubeObject {
  spec: RestoreSpec;
  status?: RestoreStatus;
}

/**
 * Conditions of a CheckpointRestore that its node's agent writes. Armed: the next `create` of the container
 * restores the Checkpoint; False with an error code when that cannot be. Restored: how that `create` went.
 * `Ready` (request.ts) is the operator's: whether the container came to the Checkpoint.
 */
export const ARMED = "Armed";
export const RESTORED = "Restored";
