import type { LabelSelector } from "../../api/common.ts";
import { containersOf, defaultContainer, isRunning } from "../../api/pod.ts";
import type { Pod } from "../../kube/resources.ts";

/** Whether labels match a selector. An empty selector matches nothing: it would mean every pod. */
export function matches(selector: LabelSelector, labels: Record<string, string> = {}): boolean {
  const wanted = Object.entries(selector.matchLabels ?? {});
  const expressions = selector.matchExpressions ?? [];
  if (wanted.length === 0 && expressions.length === 0) return false;
  return (
    wanted.every(([key, value]) => labels[key] === value) &&
    expressions.every(({ key, operator, values = [] }) => {
      const value = labels[key];
      switch (operator) {
        case "In":
          return value !== undefined && values.includes(value);
        case "NotIn":
          return value === undefined || !values.includes(value);
        case "Exists":
          return value !== undefined;
        case "DoesNotExist":
          return value === undefined;
        default:
          return operator satisfies never;
      }
    })
  );
}

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
