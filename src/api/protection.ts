import type { z } from "zod";
import type { Pod } from "../kube/resources.ts";
import { defaultContainer } from "./pod.ts";
import { type CheckpointSchedule, restorePolicy } from "./schedule.ts";
import { matches } from "./selector.ts";

/** How one container of a pod is protected: by which schedule, and what that says of restores. */
export interface Protection extends Omit<z.output<typeof restorePolicy>, "policy"> {
  schedule: CheckpointSchedule;
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
    const { policy: _, ...restore } = restorePolicy.parse(schedule.spec.restore ?? {});
    const names = schedule.spec.containers ?? (fallbackContainer === undefined ? [] : [fallbackContainer]);
    for (const name of names) {
      if (!protectedBy.has(name)) protectedBy.set(name, { schedule, ...restore });
    }
  }
  return protectedBy;
}
