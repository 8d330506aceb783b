import type { LabelSelector } from "./common.ts";

/** Whether labels match a selector. An empty selector matches nothing: it would mean every pod. */
export function matches(selector: LabelSelector, labels: Record<string, string> = {}): boolean {
  const wanted = Object.entries(selector.matchLabels ?? {});
  const expressions = selector.matchExpressions ?? [];
  if (wanted.length === 0 && expressions.length === 0) return false;
  return (
    wanted.every(([key, value]) => labels[key] === value) &&
    expressions.every(({ key, operator, values }) => meets(labels[key], operator, values))
  );
}

/** Whether a label's value, or its absence, is what one requirement of a selector asks for. */
export function meets(
  value: string | undefined,
  operator: NonNullable<LabelSelector["matchExpressions"]>[number]["operator"],
  values: readonly string[] = [],
): boolean {
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
}
