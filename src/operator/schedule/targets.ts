import type { LabelSelector } from "../../api/common.ts";
import { containersOf, defaultContainer, isRunning } from "../../api/pod.ts";
import { matches } from "../../api/selector.ts";
import type { Pod } from "../../kube/resources.ts";

export interface Target {
  pod: Pod;
  container: string;
}

/** What one slot captures: the named containers (default: each pod's default one) of the running pods. */
export function targetsOf(
  spec: { selector: LabelSelector; containers?: string[]; pods?: "All" | "One" },
  pods: readonly Pod[],
): Target[] {
  const running = pods
    .filter((pod) => isRunning(pod) && matches(spec.selector, pod.metadata.labels))
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  const chosen = spec.pods === "One" ? running.slice(0, 1) : running;
  return chosen.flatMap((pod) => {
    const fallback = defaultContainer(pod);
    const names = spec.containers ?? (fallback === undefined ? [] : [fallback]);
    const existing = new Set(containersOf(pod).map((c) => c.name));
    return names.filter((name) => existing.has(name)).map((container) => ({ pod, container }));
  });
}
