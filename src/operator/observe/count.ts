import type { Checkpoint } from "../../api/checkpoint.ts";
import { findCondition } from "../../api/conditions.ts";
import { isGood, isTerminal } from "../../api/kinds.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import { beginCount, codeLabel } from "../../api/restore-metrics.ts";
import { noMetrics } from "../../kube/metrics.ts";
import type { Change } from "../../kube/subscription.ts";
import type { Context } from "../context.ts";

/**
 * Counts what happens to requests and Checkpoints for as long as this replica leads, from the changes that its caches
 * hear of: what had happened before is not counted again. What an agent measured is its own to tell.
 */
export function countChanges({ caches, metrics = noMetrics, leading }: Context): void {
  beginCount(metrics, "Image");
  const stops = [
    caches.requests.subscribe((change) => countRequest(metrics, change)),
    caches.checkpoints.subscribe((change) => countCheckpoint(metrics, change)),
  ];
  const end = () => {
    for (const stop of stops) stop();
  };
  leading.addEventListener("abort", end, { once: true });
}

type OperatorMetrics = NonNullable<Context["metrics"]>;

export function countRequest(metrics: OperatorMetrics, change: Change<CheckpointRequest>): void {
  const { type, object, previous } = change;
  if (type === "delete" || previous === undefined || isTerminal(previous) || !isTerminal(object)) return;
  const { phase = "", reason } = object.status ?? {};
  const labels = { phase, reason: phase === "Failed" ? codeLabel(reason) : "" };
  metrics.increment("kcr_requests_ended_total", labels);
}

export function countCheckpoint(metrics: OperatorMetrics, change: Change<Checkpoint>): void {
  const { type, object, previous } = change;
  if (type === "delete" || previous === undefined) return;
  const { status } = object;
  // One that is good again, after its copy was made anew, became so once.
  if (isGood(object) && findCondition(previous.status?.conditions, "Restorable") === undefined) {
    metrics.increment("kcr_checkpoints_good_total", { engine: status?.engine ?? "kubelet" });
  }
  if (status?.phase === "Failed" && previous.status?.phase !== "Failed") {
    const why = status.conditions?.find(({ status }) => status === "False");
    metrics.increment("kcr_checkpoints_failed_total", { reason: codeLabel(why?.reason) });
  }
}
