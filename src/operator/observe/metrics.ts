import { restoreMetricDefinitions } from "../../api/restore-metrics.ts";
import type { MetricDefinition, MetricName } from "../../kube/metrics.ts";

/** The operator's own metrics: counts of what happened while it led. How things stand is in gauges.ts. */
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
  kcr_retention_removed_total: {
    type: "counter",
    labels: ["rule"],
    help: "Checkpoints that were removed because a policy says so, by the kind of its rule",
  },
  kcr_retention_removed_bytes_total: {
    type: "counter",
    labels: ["rule"],
    help: "Bytes of the archives of Checkpoints that were removed because a policy says so",
  },
  ...restoreMetricDefinitions,
} as const satisfies Record<string, MetricDefinition>;

export type OperatorMetricName = MetricName | keyof typeof operatorMetricDefinitions;
