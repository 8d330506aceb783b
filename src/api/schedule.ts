import { z } from "zod";
import type { KubeObject } from "../kube/resources.ts";
import { conditions, labelName, labelSelector, time } from "./common.ts";
import { scheduleRetention } from "./retention.ts";

/** How a container is brought back, and what happens when it cannot be. */
export const restorePolicy = z.object({
  policy: z
    .enum(["OnFailure", "Never"])
    .default("OnFailure")
    .describe("OnFailure restores a container that failed; Never only takes checkpoints."),
  strategy: z
    .enum(["Auto", "Runtime", "Image"])
    .default("Auto")
    .describe(
      "Runtime: the runtime handler kcr restores where the container restarts, in pods of RuntimeClass kcr. Image: the pod is given a checkpoint image. Auto: Runtime in pods of that class, else Image where the node can.",
    ),
  fallback: z
    .enum(["FreshStart", "Fail"])
    .default("FreshStart")
    .describe("What follows when no checkpoint can be restored: the original image, or nothing."),
  maxAttempts: z
    .int()
    .min(1)
    .max(100)
    .default(3)
    .describe("How often one checkpoint may crash at once before the next candidate is tried."),
  onSpecChange: z
    .enum(["Fresh", "Restore"])
    .default("Fresh")
    .describe("What a container does whose checkpoint was given something else: start afresh, or restore."),
  volumes: z
    .enum(["Capture", "Refuse", "Ignore"])
    .default("Capture")
    .describe(
      "Volumes that can be written to. Capture puts emptyDirs back with the memory and refuses others that have a file open for writing; Refuse refuses all that do; Ignore restores whatever they hold now.",
    ),
});

export const scheduleSpec = z.object({
  schedule: z
    .string()
    .min(1)
    .max(256)
    .describe("Cron expression of five fields, or a nickname such as @hourly."),
  selector: labelSelector.describe("The pods whose containers are checkpointed."),
  suspend: z.boolean().optional().describe("No new requests while true; restores go on."),
  timeZone: z.string().min(1).max(64).optional().describe("IANA time zone of the schedule; default UTC."),
  concurrencyPolicy: z
    .enum(["Allow", "Forbid"])
    .default("Forbid")
    .describe("Forbid skips a container whose last request has not ended."),
  startingDeadlineSeconds: z
    .int()
    .min(0)
    .max(31_536_000)
    .optional()
    .describe("A slot that is later than this is skipped."),
  containers: z
    .array(labelName)
    .max(64)
    .optional()
    .describe("Containers to capture; default: the pod's default container, else its first."),
  pods: z.enum(["All", "One"]).default("All").describe("All matching pods, or the first by name."),
  timeoutSeconds: z.int().min(1).max(86_400).optional().describe("Deadline of each request; default 300."),
  restore: restorePolicy.optional(),
  retention: scheduleRetention.optional().describe("Which of its checkpoints stay."),
});
export type ScheduleSpec = z.input<typeof scheduleSpec>;

export const scheduleStatus = z.object({
  lastRunTime: time.optional().describe("Due time of the newest slot that was decided."),
  nextRunTime: time
    .optional()
    .describe("When the next slot is acted upon: its due time, and always as much later for one schedule."),
  lastSuccessfulTime: time.optional().describe("When the newest good checkpoint was taken."),
  observedGeneration: z.int().optional(),
  conditions: conditions.optional(),
});
export type ScheduleStatus = z.infer<typeof scheduleStatus>;

export interface CheckpointSchedule extends KubeObject {
  spec: ScheduleSpec;
  status?: ScheduleStatus;
}
