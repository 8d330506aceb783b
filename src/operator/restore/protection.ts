import { defaultContainer } from "../../api/pod.ts";
import type { CheckpointSchedule } from "../../api/schedule.ts";
import { restorePolicy } from "../../api/schedule.ts";
import type { Pod } from "../../kube/resources.ts";
import { matches } from "../schedule/targets.ts";

/** How one container of a pod is protected. */
export interface Protection {
  schedule: CheckpointSchedule;
  strategy: "Auto" | "Runtime" | "Image";
  fallback: "FreshStart" | "Fail";
  maxAttempts: number;
}

/** The containers of the pod that are to be restored, by name: of several schedules for one the first by name. */
export function protectionOf(
  pod: Pod,
  schedules: readonly CheckpointSchedule[],
): ReadonlyMap<string, Protection> {
  const protectedBy = new Map<string, Protection>();
  const fallbackContainer = defaultContainer(pod);
  const wanting = schedules
    .filter(
      ({ metadata, spec }) =>
        metadata.deletionTimestamp === undefined &&
        (spec.restore?.policy ?? "OnFailure") === "OnFailure" &&
        matches(spec.selector, pod.metadata.labels),
    )
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  for (const schedule of wanting) {
    const { strategy, fallback, maxAttempts } = restorePolicy.parse(schedule.spec.restore ?? {});
    const names = schedule.spec.containers ?? (fallbackContainer === undefined ? [] : [fallbackContainer]);
    for (const name of names) {
      if (!protectedBy.has(name)) protectedBy.set(name, { schedule, strategy, fallback, maxAttempts });
    }
  }
  return protectedBy;
}
