import { defaultContainer } from "../../api/pod.ts";
import type { CheckpointSchedule } from "../../api/schedule.ts";
import { restorePolicy } from "../../api/schedule.ts";
import type { Pod } from "../../kube/resources.ts";
import { matches } from "../schedule/targets.ts";

/** How the containers of a pod are protected. */
export interface Protection {
  schedule: CheckpointSchedule;
  containers: ReadonlySet<string>;
  strategy: "Auto" | "Runtime" | "Image";
  fallback: "FreshStart" | "Fail";
  maxAttempts: number;
}

/** The schedule that restores the pod's containers: of several the first by name. */
export function protectionOf(pod: Pod, schedules: readonly CheckpointSchedule[]): Protection | undefined {
  const wanting = schedules
    .filter(
      (s) =>
        s.metadata.deletionTimestamp === undefined &&
        (s.spec.restore?.policy ?? "OnFailure") === "OnFailure" &&
        matches(s.spec.selector, pod.metadata.labels),
    )
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  const schedule = wanting[0];
  if (schedule === undefined) return undefined;
  const fallback = defaultContainer(pod);
  const { strategy, fallback: afterwards, maxAttempts } = restorePolicy.parse(schedule.spec.restore ?? {});
  return {
    schedule,
    containers: new Set(schedule.spec.containers ?? (fallback === undefined ? [] : [fallback])),
    strategy,
    fallback: afterwards,
    maxAttempts,
  };
}
