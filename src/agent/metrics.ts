import type { MetricDefinition, MetricName } from "../kube/metrics.ts";

/** The metrics of the agent's own. */
export const agentMetricDefinitions = {
  kcr_transfer_bytes_total: {
    type: "counter",
    labels: ["direction"],
    help: "Bytes of checkpoints' copies sent to and received from other nodes",
  },
  kcr_transfer_requests_total: {
    type: "counter",
    labels: ["code"],
    help: "Requests of other nodes' agents by HTTP status",
  },
  kcr_transfer_copies_total: {
    type: "counter",
    labels: ["result"],
    help: "Copies asked of another node: fetched, or why not",
  },
  kcr_disk_free_bytes: {
    type: "gauge",
    labels: ["of"],
    help: "Bytes free where archives and copies lie",
  },
  kcr_disk_pressure: {
    type: "gauge",
    labels: [],
    help: "1 while less than the reserve is free there, and no dump begins",
  },
} as const satisfies Record<string, MetricDefinition>;

export type AgentMetricName = MetricName | keyof typeof agentMetricDefinitions;
