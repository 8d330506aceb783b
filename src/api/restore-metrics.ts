import type { MetricDefinition, Metrics } from "../kube/metrics.ts";
import { ERRORS } from "./errors.ts";

/** What operator and agent report alike of the restores that they see to: strategy Image the one, Runtime the other. */
export const restoreMetricDefinitions = {
  kcr_restores_total: {
    type: "counter",
    labels: ["strategy", "result"],
    help: "Containers that ended and were to be restored, by what came of it: restored, lost (it started afresh and its state is lost), fresh (it started afresh and nothing is lost) or refused (it is not started)",
  },
  kcr_restore_failures_total: {
    type: "counter",
    labels: ["strategy", "reason"],
    help: "Checkpoints that were to be restored from in vain, and restores that nothing came of, by the error's code",
  },
  kcr_restored_age_seconds: {
    type: "histogram",
    labels: ["strategy"],
    buckets: [1, 10, 60, 600, 3600, 21_600, 86_400, 604_800],
    help: "Age of the state that a container was restored to: what was done since then is lost",
  },
} as const satisfies Record<string, MetricDefinition>;

export type RestoreMetricName = keyof typeof restoreMetricDefinitions;

/** What came of a restore. */
export interface RestoreOutcome {
  strategy: "Image" | "Runtime";
  result: "restored" | "lost" | "fresh" | "refused";
  /** Of the state that was restored. */
  ageSeconds?: number;
  /** Reasons of what was tried in vain. */
  failures?: readonly string[];
}

export function countRestore(
  metrics: Metrics<RestoreMetricName>,
  { strategy, result, ageSeconds, failures = [] }: RestoreOutcome,
): void {
  metrics.increment("kcr_restores_total", { strategy, result });
  for (const reason of failures) {
    metrics.increment("kcr_restore_failures_total", { strategy, reason: codeLabel(reason) });
  }
  if (ageSeconds !== undefined && ageSeconds >= 0) {
    metrics.observe("kcr_restored_age_seconds", { strategy }, ageSeconds);
  }
}

/** Makes the counts of a strategy begin at 0: one that begins with its first loss would hide it. */
export function beginCount(metrics: Metrics<RestoreMetricName>, strategy: RestoreOutcome["strategy"]): void {
  for (const result of ["restored", "lost", "fresh", "refused"] satisfies RestoreOutcome["result"][]) {
    metrics.increment("kcr_restores_total", { strategy, result }, 0);
  }
}

/** A reason as a label's value: one of the codes there are, whatever somebody else has written. */
export const codeLabel = (reason: string | undefined): string =>
  reason !== undefined && Object.hasOwn(ERRORS, reason) ? reason : "Other";
