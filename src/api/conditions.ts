import type { Condition } from "./common.ts";

/**
 * The list with `next` in it: lastTransitionTime moves only when the status does, and the very same list is
 * returned when nothing changed, so that callers can tell whether a write is needed.
 */
export function setCondition(
  list: readonly Condition[] | undefined,
  next: Omit<Condition, "lastTransitionTime">,
  now: Date,
): Condition[] {
  const old = list?.find((c) => c.type === next.type);
  if (
    list !== undefined &&
    old !== undefined &&
    old.status === next.status &&
    old.reason === next.reason &&
    old.message === next.message &&
    old.observedGeneration === next.observedGeneration
  ) {
    return list as Condition[];
  }
  const lastTransitionTime = old?.status === next.status ? old.lastTransitionTime : now.toISOString();
  return [...(list ?? []).filter((c) => c.type !== next.type), { ...next, lastTransitionTime }];
}

export const findCondition = (list: readonly Condition[] | undefined, type: string): Condition | undefined =>
  list?.find((c) => c.type === type);

export const isTrue = (list: readonly Condition[] | undefined, type: string): boolean =>
  findCondition(list, type)?.status === "True";
