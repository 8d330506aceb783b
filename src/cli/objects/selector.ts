import type { LabelSelector } from "../../api/common.ts";
import { UsageError } from "../errors.ts";

/** A selector as the API takes it in a query: `app=x,tier in (a,b),!canary`. */
export function selectorText({ matchLabels = {}, matchExpressions = [] }: LabelSelector): string {
  return [
    ...Object.entries(matchLabels).map(([key, value]) => `${key}=${value}`),
    ...matchExpressions.map(({ key, operator, values = [] }) => {
      switch (operator) {
        case "In":
          return `${key} in (${values.join(",")})`;
        case "NotIn":
          return `${key} notin (${values.join(",")})`;
        case "Exists":
          return key;
        case "DoesNotExist":
          return `!${key}`;
        default:
          return operator satisfies never;
      }
    }),
  ].join(",");
}

/**
 * Whether labels match what a person typed behind -l: `app=x,tier!=web,canary`, the forms of equality that kubectl
 * knows. Errors: UsageError for others.
 */
export function matchesText(text: string, labels: Readonly<Record<string, string>>): boolean {
  return text
    .split(",")
    .map((term) => term.trim())
    .filter(Boolean)
    .every((term) => {
      const [, not, key = "", operator, value] =
        /^(!?)\s*([\w./-]+)\s*(?:(==?|!=)\s*([\w.-]*))?$/.exec(term) ?? [];
      if (key === "" || (not && operator)) throw new UsageError(`-l does not know ${JSON.stringify(term)}`);
      if (operator === undefined) return not ? !(key in labels) : key in labels;
      return operator === "!=" ? labels[key] !== value : labels[key] === value;
    });
}
