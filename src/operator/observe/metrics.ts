import type { MetricDefinition, MetricName } from "../../kube/metrics.ts";

/** The operator's own metrics: counters and histograms of what happened while it led. Durations are in seconds. */
export const operatorMetricDefinitions = {
  kcr_requests_ended_total: {
    type: "counter",
    labels: ["phase", "reason"],
    help: "CheckpointRequests by how they ended: phase and, of failed ones, the error's code",
  },
  kcr_checkpoints_good_total: {
    type: "counter",
    labels: ["engine"],
    help: "Checkpoints that became restorable",
  },
  kcr_checkpoints_failed_total: {
    type: "counter",
    labels: ["reason"],
    help: "Checkpoints that failed, by the error's code",
  },
  kcr_checkpoint_ready_seconds: {
    type: "histogram",
    labels: ["engine"],
    buckets: [0.5, 1, 2, 5, 10, 20, 60, 300, 1800],
    help: "Time from the beginning of a dump until its Checkpoint is restorable",
  },
  kcr_checkpoint_frozen_seconds: {
    type: "histogram",
    labels: ["engine"],
    buckets: [0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 120],
    help: "How long CRIU kept a container frozen",
  },
  kcr_checkpoint_paused_seconds: {
    type: "histogram",
    labels: ["engine"],
    buckets: [0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 120],
    help: "How long a container did not run, where that is known",
  },
  kcr_checkpoint_size_bytes: {
    type: "histogram",
    labels: ["engine"],
    buckets: [1e6, 1e7, 1e8, 1e9, 1e10, 1e11],
    help: "Size of the archives",
  },
  kcr_retention_removed_total: {
    type: "counter",
    labels: [],
    help: "Checkpoints that were removed because a policy says so",
  },
  kcr_retention_removed_bytes_total: { type: "counter", labels: [], help: "Bytes of their archives" },
  kcr_restores_total: { type: "counter", labels: [], help: "Containers that were restored" },
  kcr_restored_age_seconds: {
    type: "histogram",
    labels: [],
    buckets: [1, 10, 60, 600, 3600, 21_600, 86_400, 604_800],
    help: "Age of the state that a container was restored to: what was done since then is lost",
  },
} as const satisfies Record<string, MetricDefinition>;

export type OperatorMetricName = MetricName | keyof typeof operatorMetricDefinitions;
