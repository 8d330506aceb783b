import type { CheckpointSchedule } from "../api/schedule.ts";
import { matches } from "../api/selector.ts";
import type { Cache } from "../kube/cache.ts";
import type { Pod } from "../kube/resources.ts";
import { BY_NAMESPACE } from "./context.ts";

/** Index of pods by each of their labels, and of schedules by one that their selector asks for. */
export const BY_LABEL = "label";

const value = (namespace: string | undefined, label: string): string => `${namespace ?? ""}/${label}`;

/** The pod's values in {@link BY_LABEL}. */
export const labelsOfPod = ({ metadata }: Pod): string[] =>
  Object.entries(metadata.labels ?? {}).map(([key, text]) => value(metadata.namespace, `${key}=${text}`));

/** The schedule's value in {@link BY_LABEL}. */
export const labelOfSchedule = ({ metadata, spec }: CheckpointSchedule): string[] => [
  value(metadata.namespace, labelAskedFor(spec) ?? ""),
];

/**
 * A label that every pod the selector matches has; undefined where it only has expressions. Of several the longest:
 * it has a name in it, where shorter ones have a word that many share.
 */
function labelAskedFor({ selector }: CheckpointSchedule["spec"]): string | undefined {
  let longest: string | undefined;
  for (const [key, text] of Object.entries(selector.matchLabels ?? {})) {
    const label = `${key}=${text}`;
    if (longest === undefined || label.length > longest.length) longest = label;
  }
  return longest;
}

/** The pods that a schedule selects, without a look at all others of the namespace. */
export function podsOfSchedule(
  { pods }: { pods: Pick<Cache<Pod>, "byIndex"> },
  { metadata, spec }: CheckpointSchedule,
): Pod[] {
  const label = labelAskedFor(spec);
  const candidates =
    label === undefined
      ? pods.byIndex(BY_NAMESPACE, metadata.namespace ?? "")
      : pods.byIndex(BY_LABEL, value(metadata.namespace, label));
  return candidates.filter((pod) => matches(spec.selector, pod.metadata.labels));
}

/** The schedules that select a pod, without a look at all others of the namespace. */
export function schedulesOfPod(
  { schedules }: { schedules: Pick<Cache<CheckpointSchedule>, "byIndex"> },
  pod: Pod,
): CheckpointSchedule[] {
  return [value(pod.metadata.namespace, ""), ...labelsOfPod(pod)]
    .flatMap((label) => schedules.byIndex(BY_LABEL, label))
    .filter(({ spec }) => matches(spec.selector, pod.metadata.labels));
}
