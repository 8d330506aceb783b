import type { Checkpoint } from "../../api/checkpoint.ts";
import { LABEL_POD } from "../../api/labels.ts";
import { labelValue, repositoryName } from "../../api/names.ts";
import type { CheckpointRestore } from "../../api/restore.ts";
import type { KubeObject, Pod } from "../../kube/resources.ts";

/** What a history is of: the pods there are now, and the names by which those there were are known. */
export interface Subject {
  pods: readonly Pod[];
  /** Of the workload's schedules. */
  schedules: readonly string[];
  /** The workload's name; absent for a pod. */
  workload?: string;
}

/** One thing that happened to a container's state, newest first. */
export type Entry =
  | { type: "checkpoint"; time: string; checkpoint: Checkpoint }
  | { type: "restore"; time: string; restore: CheckpointRestore };

/**
 * Checkpoints and asked-for restores of a subject, newest first. Checkpoints of pods that are gone are known by their
 * schedule, or by the repository that is named after the workload.
 */
export function historyOf(
  subject: Subject,
  checkpoints: readonly Checkpoint[],
  restores: readonly CheckpointRestore[],
): Entry[] {
  const own = checkpoints.filter((checkpoint) => isOf(subject, checkpoint));
  const pods = new Set([
    ...subject.pods.map(({ metadata }) => metadata.name),
    ...own.map(({ metadata }) => metadata.labels?.[LABEL_POD]),
  ]);
  return [
    ...own.map((checkpoint) => ({
      type: "checkpoint" as const,
      time: checkpoint.spec.checkpointTimestamp,
      checkpoint,
    })),
    ...restores
      .filter(({ spec }) => pods.has(labelValue(spec.podReference.name)))
      .map((restore) => ({ type: "restore" as const, time: timeOf(restore), restore })),
  ].sort((a, b) => Date.parse(b.time) - Date.parse(a.time));
}

function isOf({ pods, schedules, workload }: Subject, { metadata, spec, status }: Checkpoint): boolean {
  if (schedules.includes(spec.checkpointScheduleRef?.name ?? "")) return true;
  if (pods.some((pod) => pod.metadata.uid !== undefined && pod.metadata.uid === status?.lineage?.podUID))
    return true;
  if (workload === undefined || status?.checkpointImage === undefined) return false;
  const leaf = (path: string): string | undefined => path.split("/").at(-1);
  const named = repositoryName("", "", metadata.namespace ?? "", workload, spec.containerName);
  return leaf(status.checkpointImage) === leaf(named);
}

const timeOf = ({ status, metadata }: CheckpointRestore & KubeObject): string =>
  status?.completionTime ?? metadata.creationTimestamp ?? "";
