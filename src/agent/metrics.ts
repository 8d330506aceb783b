import { restoreMetricDefinitions } from "../api/restore-metrics.ts";
import type { MetricDefinition, MetricName } from "../kube/metrics.ts";

/** For how long a container may stand still, in seconds. */
const PAUSES = [0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 120];
/** How long a step of a checkpoint may take, in seconds. */
const STEPS = [0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800];

/**
 * The metrics of the agent's own. What is measured on a node is told by its agent alone, so that one that tells lies
 * spoils the numbers of its own node.
 */
export const agentMetricDefinitions = {
  kcr_dump_seconds: {
    type: "histogram",
    labels: ["engine"],
    buckets: STEPS,
    help: "Time a dump took, its archive written and read back",
  },
  kcr_checkpoint_frozen_seconds: {
    type: "histogram",
    labels: ["engine"],
    buckets: PAUSES,
    help: "How long CRIU kept a container frozen",
  },
  kcr_checkpoint_paused_seconds: {
    type: "histogram",
    labels: ["engine"],
    buckets: PAUSES,
    help: "How long a container did not run, where that is known (engine runc)",
  },
  kcr_checkpoint_size_bytes: {
    type: "histogram",
    labels: ["engine"],
    buckets: [1e6, 1e7, 1e8, 1e9, 1e10, 1e11],
    help: "Size of the archives",
  },
  kcr_copy_seconds: {
    type: "histogram",
    labels: [],
    buckets: STEPS,
    help: "Time from the end of a dump until the copy on the node was verified",
  },
  kcr_push_seconds: {
    type: "histogram",
    labels: [],
    buckets: STEPS,
    help: "Time from the beginning of a push, which builds the image as it goes, until the image was verified in the registry, further tries included",
  },
  kcr_checkpoint_ready_seconds: {
    type: "histogram",
    labels: ["engine"],
    buckets: STEPS,
    help: "Time from the beginning of a dump until its Checkpoint was restorable",
  },
  kcr_restore_seconds: {
    type: "histogram",
    labels: [],
    buckets: [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120],
    help: "Time the runtime handler took to create a container from a checkpoint",
  },
  ...restoreMetricDefinitions,
  kcr_disk_size_bytes: {
    type: "gauge",
    labels: [],
    help: "Size of the file system with kcr's directory",
  },
  kcr_disk_free_bytes: {
    type: "gauge",
    labels: [],
    help: "What is free of it",
  },
  kcr_runtime_ready: {
    type: "gauge",
    labels: [],
    help: "1 while the node's runtime handler has passed its self-test; without self-test there is none",
  },
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
  kcr_disk_room_bytes: {
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
