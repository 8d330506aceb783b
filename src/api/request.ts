import { z } from "zod";
import type { KubeObject } from "../kube/resources.ts";
import { criuOptions, handler, lineage } from "./checkpoint.ts";
import { conditions, duration, labelName, objectName, objectReference, rules, time } from "./common.ts";

export const DEFAULT_TIMEOUT_SECONDS = 300;

export const requestSpec = z
  .object({
    podReference: z.object({
      name: objectName,
      namespace: labelName.optional().describe("Must be the request's own namespace."),
    }),
    containerName: labelName.optional().describe("Default: the pod's default container, else its first."),
    checkpointScheduleRef: objectReference.optional(),
    timeoutSeconds: z.int().min(1).max(86_400).default(DEFAULT_TIMEOUT_SECONDS),
    ttl: duration
      .meta(
        rules({
          rule: "duration(self) > duration('0s')",
          message: "its Checkpoint would go at once: leave it out for one that stays",
        }),
      )
      .optional()
      .describe("Its Checkpoint goes when it is older, and then the request. A duration such as 72h."),
  })
  .meta(rules({ rule: "self == oldSelf", message: "a request does not change: make a new one" }));
export type RequestSpec = z.input<typeof requestSpec>;

export const requestPhase = z.enum(["Pending", "InProgress", "Completed", "Failed"]);
export type RequestPhase = z.infer<typeof requestPhase>;

/**
 * What is captured, read from the pod before the dump begins: all that the Checkpoint will say of it, so that a
 * dump that outlives its agent, or its pod, still becomes the Checkpoint that it was meant to be.
 */
export const captureSource = z.object({
  lineage,
  defaultContainer: labelName.describe("The pod's default container, which names leave out."),
  labels: z
    .record(z.string().max(317), z.string().max(63))
    .optional()
    .describe(
      "Labels of the pod, and of its workload: by them a CheckpointRetention selects the Checkpoint.",
    ),
  repository: z
    .string()
    .max(512)
    .optional()
    .describe("Repository path of the image to be, if there is to be one."),
  baseImage: z.string().max(1024).optional(),
  baseImageDigest: z.string().max(1024).optional(),
  specHash: z.string().max(128).optional(),
  restoredFrom: z
    .string()
    .max(1024)
    .optional()
    .describe("The checkpoint image that the run should have been restored from."),
  handler: handler.optional(),
  criuOptions: criuOptions.optional(),
});
export type CaptureSource = z.infer<typeof captureSource>;

export const requestStatus = z.object({
  phase: requestPhase.optional(),
  startTime: time.optional(),
  completionTime: time.optional(),
  checkpoint: objectReference.optional().describe("The Checkpoint of a Completed request."),
  message: z.string().max(32768).optional(),
  reason: z.string().max(256).optional().describe("Stable error code of a Failed request."),
  nodeName: objectName.optional().describe("The node whose agent takes the checkpoint."),
  podUID: z.string().max(64).optional(),
  containerName: labelName.optional().describe("The container, once resolved."),
  acceptedTime: time.optional().describe("When the operator stamped the node; the deadline runs from here."),
  source: captureSource.optional().describe("What is captured, recorded when the dump begins."),
  conditions: conditions.optional(),
});
export type RequestStatus = z.infer<typeof requestStatus>;

export interface CheckpointRequest extends KubeObject {
  spec: RequestSpec;
  status?: RequestStatus;
}

/** Condition type of a request: whether it came to its Checkpoint. */
export const READY = "Ready";
/** Condition type of a request: False where the pod's options of CRIU's do not hold for it. */
export const CRIU_OPTIONS = "CriuOptions";
