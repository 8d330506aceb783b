import type { Resource } from "../kube/resources.ts";
import { type Checkpoint, POISONED, RESTORABLE } from "./checkpoint.ts";
import { isTrue } from "./conditions.ts";
import type { CheckpointDownload } from "./download.ts";
import { GROUP, VERSION } from "./group.ts";
import type { CheckpointRequest } from "./request.ts";
import type { CheckpointRestore } from "./restore.ts";
import type { CheckpointRetention, ClusterCheckpointRetention } from "./retention.ts";
import type { CheckpointSchedule } from "./schedule.ts";

export const schedules: Resource<CheckpointSchedule> = {
  group: GROUP,
  version: VERSION,
  plural: "checkpointschedules",
  kind: "CheckpointSchedule",
  namespaced: true,
};

export const requests: Resource<CheckpointRequest> = {
  group: GROUP,
  version: VERSION,
  plural: "checkpointrequests",
  kind: "CheckpointRequest",
  namespaced: true,
};

export const checkpoints: Resource<Checkpoint> = {
  group: GROUP,
  version: VERSION,
  plural: "checkpoints",
  kind: "Checkpoint",
  namespaced: true,
};

export const restores: Resource<CheckpointRestore> = {
  group: GROUP,
  version: VERSION,
  plural: "checkpointrestores",
  kind: "CheckpointRestore",
  namespaced: true,
};

export const downloads: Resource<CheckpointDownload> = {
  group: GROUP,
  version: VERSION,
  plural: "checkpointdownloads",
  kind: "CheckpointDownload",
  namespaced: true,
};

export const retentions: Resource<CheckpointRetention> = {
  group: GROUP,
  version: VERSION,
  plural: "checkpointretentions",
  kind: "CheckpointRetention",
  namespaced: true,
};

export const clusterRetentions: Resource<ClusterCheckpointRetention> = {
  group: GROUP,
  version: VERSION,
  plural: "clustercheckpointretentions",
  kind: "ClusterCheckpointRetention",
  namespaced: false,
};

/** Good: at least one verified copy, digest recorded. Only good checkpoints are ever restored from. */
export const isGood = (checkpoint: Checkpoint): boolean =>
  checkpoint.metadata.deletionTimestamp === undefined && isTrue(checkpoint.status?.conditions, RESTORABLE);

export const isPoisoned = (checkpoint: Checkpoint): boolean =>
  isTrue(checkpoint.status?.conditions, POISONED);

export const isTerminal = ({ status }: CheckpointRequest | CheckpointRestore): boolean =>
  status?.phase === "Completed" || status?.phase === "Failed";
