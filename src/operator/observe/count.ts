import type { Checkpoint } from "../../api/checkpoint.ts";
import { findCondition } from "../../api/conditions.ts";
import { isGood, isTerminal } from "../../api/kinds.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import { noMetrics } from "../../kube/metrics.ts";
import type { Change } from "../../kube/subscription.ts";
import type { Context } from "../context.ts";

/**
 * Counts what happens to requests and Checkpoints for as long as this replica leads, from the changes that its caches
 * hear of: what had happened before is not counted again.
 */
export function countChanges({ caches, metrics = noMetrics, leading }: Context): void {
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
  metrics.increment("kcr_requests_ended_total", { phase, reason: phase === "Failed" ? (reason ?? "") : "" });
}

export function countCheckpoint(metrics: OperatorMetrics, change: Change<Checkpoint>): void {
  const { type, object, previous } = change;
  if (type === "delete" || previous === undefined) return;
  const { status, spec } = object;
  const engine = { engine: status?.engine ?? "kubelet" };
  const taken = Date.parse(spec.checkpointTimestamp);
  const observe = (
    name: Parameters<OperatorMetrics["observe"]>[0],
    value: number | undefined,
    labels = engine,
  ) => {
    if (value !== undefined && value >= 0) metrics.observe(name, labels, value);
  };

  // One that is good again, after its copy was made anew, became so once.
  if (isGood(object) && findCondition(previous.status?.conditions, "Restorable") === undefined) {
    metrics.increment("kcr_checkpoints_good_total", engine);
    const since = findCondition(status?.conditions, "Restorable")?.lastTransitionTime;
    observe(
      "kcr_checkpoint_ready_seconds",
      since === undefined ? undefined : (Date.parse(since) - taken) / 1000,
    );
    observe("kcr_checkpoint_frozen_seconds", seconds(status?.frozenMicroseconds));
    observe("kcr_checkpoint_paused_seconds", seconds(status?.pausedMicroseconds));
    observe("kcr_checkpoint_size_bytes", status?.sizeBytes);
  }
  if (status?.phase === "Failed" && previous.status?.phase !== "Failed") {
    const why = status.conditions?.find(({ status }) => status === "False");
    metrics.increment("kcr_checkpoints_failed_total", { reason: why?.reason ?? "" });
  }
  const restored = (status?.restoredCount ?? 0) - (previous.status?.restoredCount ?? 0);
  if (restored > 0) {
    metrics.increment("kcr_restores_total", {}, restored);
    const { lastRestoredTime = "" } = status ?? {};
    observe("kcr_restored_age_seconds", (Date.parse(lastRestoredTime) - taken) / 1000, {} as typeof engine);
  }
}

const seconds = (microseconds: number | undefined): number | undefined =>
  microseconds === undefined ? undefined : microseconds / 1e6;
