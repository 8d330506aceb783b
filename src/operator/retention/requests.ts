import type { Checkpoint } from "../../api/checkpoint.ts";
import { isTerminal } from "../../api/kinds.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import { parseDuration } from "../../kube/duration.ts";

/** Of each schedule so many of the newest requests that have no Checkpoint stay, to tell of failures. */
const KEPT = 3;
/** Those of people that say nothing of it stay so long after they ended, in milliseconds. */
const ON_DEMAND_MS = 7 * 24 * 3_600_000;
/** A request that was given up may become a Checkpoint after all for an hour. */
const LATE_MS = 2 * 3_600_000;

/**
 * Requests that have ended and have no Checkpoint any more, or never had: those of people after a week, those of
 * schedules but for the newest few. Where a Checkpoint is, its request stays: it is its owner.
 */
export function finishedRequests(
  requests: readonly CheckpointRequest[],
  checkpoints: readonly Checkpoint[],
  now: Date,
): CheckpointRequest[] {
  const names = new Set(checkpoints.map(({ metadata }) => metadata.name));
  const owners = new Set(
    checkpoints.flatMap(({ metadata }) => (metadata.ownerReferences ?? []).map(({ uid }) => uid)),
  );
  const age = ({ status }: CheckpointRequest): number =>
    now.getTime() - Date.parse(status?.completionTime ?? "");
  const ended = requests
    .filter(
      (request) =>
        isTerminal(request) &&
        request.metadata.deletionTimestamp === undefined &&
        age(request) > LATE_MS &&
        !owners.has(request.metadata.uid ?? "") &&
        !names.has(request.status?.checkpoint?.name ?? ""),
    )
    .sort((a, b) => age(a) - age(b) || (a.metadata.name < b.metadata.name ? -1 : 1));
  const bySchedule = Map.groupBy(ended, ({ spec }) => spec.checkpointScheduleRef?.name);
  return [...bySchedule].flatMap(([schedule, own]) =>
    schedule === undefined ? own.filter((request) => age(request) > ttlOf(request)) : own.slice(KEPT),
  );
}

/** One that cannot be read is none. */
function ttlOf({ spec }: CheckpointRequest): number {
  try {
    return spec.ttl === undefined ? ON_DEMAND_MS : parseDuration(spec.ttl);
  } catch {
    return ON_DEMAND_MS;
  }
}
