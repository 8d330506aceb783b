import type { Pod } from "../kube/resources.ts";

/**
 * What an agent tells of a Checkpoint of another node that a pod of its own was to come from. It may not write that
 * Checkpoint's status, so it says it as a condition of its pod, `kcr.io/<what>.<UID of the Checkpoint>`, and the
 * operator does.
 */
export interface Report {
  what: "restored" | "poisoned";
  checkpointUID: string;
  /** When it happened; to the second. */
  time: string;
  /** Of `poisoned`: why. */
  message: string;
}

/** As in the status of a pod. */
export type PodCondition = NonNullable<NonNullable<Pod["status"]>["conditions"]>[number];

const TYPE = /^kcr\.io\/(restored|poisoned)\.([0-9a-f-]{36})$/;

export const reportCondition = ({ what, checkpointUID, time, message }: Report): PodCondition => ({
  type: `kcr.io/${what}.${checkpointUID}`,
  status: "True",
  reason: what === "restored" ? "Restored" : "CheckpointPoisoned",
  message,
  lastTransitionTime: time.replace(/\.\d+/, ""),
});

/** All that is told on a pod, in the order of its conditions. */
export function reportsOf({ status }: Pod): Report[] {
  return (status?.conditions ?? []).flatMap(({ type, message = "", lastTransitionTime: time }) => {
    const [, what, checkpointUID] = TYPE.exec(type) ?? [];
    if (checkpointUID === undefined || time === undefined) return [];
    return [{ what: what as Report["what"], checkpointUID, time: String(time), message }];
  });
}
