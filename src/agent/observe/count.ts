import { type Checkpoint, LOCAL_COPY, RESTORABLE } from "../../api/checkpoint.ts";
import { findCondition } from "../../api/conditions.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import { countRestore } from "../../api/restore-metrics.ts";
import type { Change } from "../../kube/subscription.ts";
import type { Note } from "../../store/notes.ts";
import type { Context } from "../context.ts";

type AgentMetrics = NonNullable<Context["metrics"]>;
type Histogram = Parameters<AgentMetrics["observe"]>[0];

/** How long the dump of a request took that is Completed now. Its Checkpoint says by which engine. */
export function countDump(
  metrics: AgentMetrics,
  { type, object, previous }: Change<CheckpointRequest>,
  engineOf: (request: CheckpointRequest) => string,
): void {
  const { phase, startTime, completionTime } = object.status ?? {};
  if (type === "delete" || phase !== "Completed") return;
  if (previous === undefined || previous.status?.phase === "Completed") return;
  observe(metrics, "kcr_dump_seconds", secondsBetween(startTime, completionTime), {
    engine: engineOf(object),
  });
}

/** What a change of a Checkpoint of this node tells: each of its steps, once it is over. */
export function countCheckpoint(
  metrics: AgentMetrics,
  { type, object, previous }: Change<Checkpoint>,
  request: CheckpointRequest | undefined,
): void {
  if (type === "delete" || previous === undefined) return;
  const { spec, status = {} } = object;
  const before = previous.status ?? {};
  const engine = { engine: status.engine ?? "kubelet" };
  if (before.phase === undefined && status.phase !== undefined) {
    observe(metrics, "kcr_checkpoint_frozen_seconds", seconds(status.frozenMicroseconds), engine);
    observe(metrics, "kcr_checkpoint_paused_seconds", seconds(status.pausedMicroseconds), engine);
    observe(metrics, "kcr_checkpoint_size_bytes", status.sizeBytes, engine);
  }
  if (became(LOCAL_COPY)) {
    const took = secondsBetween(dumpedTime(previous, request), since(LOCAL_COPY));
    observe(metrics, "kcr_copy_seconds", took, {});
  }
  if (before.phase === "Processing" && status.phase === "ImageBuilt") {
    const took = secondsBetween(before.lastTransitionTime, status.lastTransitionTime);
    observe(metrics, "kcr_push_seconds", took, {});
  }
  if (became(RESTORABLE)) {
    const took = secondsBetween(spec.checkpointTimestamp, since(RESTORABLE));
    observe(metrics, "kcr_checkpoint_ready_seconds", took, engine);
  }

  /** Whether a condition is True for the first time: one that is so again became so once. */
  function became(condition: string): boolean {
    return (
      findCondition(status.conditions, condition)?.status === "True" &&
      findCondition(before.conditions, condition) === undefined
    );
  }
  function since(condition: string): string | undefined {
    return findCondition(status.conditions, condition)?.lastTransitionTime;
  }
}

/** When the dump of a Checkpoint was over, as it said itself before something came of it, or as its request says. */
export const dumpedTime = (
  { status }: Checkpoint,
  request: CheckpointRequest | undefined,
): string | undefined =>
  status?.phase === "Created" ? status.lastTransitionTime : request?.status?.completionTime;

/** What the runtime handler did at one `create`. */
export function countNote(metrics: AgentMetrics, note: Note): void {
  const failures = note.failed.map(({ code }) => code);
  switch (note.type) {
    case "restored":
      observe(metrics, "kcr_restore_seconds", note.tookMs / 1000, {});
      countRestore(metrics, {
        strategy: "Runtime",
        result: "restored",
        ageSeconds: note.ageMs / 1000,
        failures,
      });
      return;
    case "fresh":
      if (note.reason === "NotWanted") return;
      countRestore(metrics, { strategy: "Runtime", result: note.lost ? "lost" : "fresh", failures });
      return;
    case "refused":
      countRestore(metrics, { strategy: "Runtime", result: "refused", failures });
      return;
    default:
      note satisfies never;
  }
}

function observe(
  metrics: AgentMetrics,
  name: Histogram,
  value: number | undefined,
  labels: Record<string, string>,
): void {
  if (value !== undefined && value >= 0) metrics.observe(name, labels, value);
}

const seconds = (microseconds: number | undefined): number | undefined =>
  microseconds === undefined ? undefined : microseconds / 1e6;

const secondsBetween = (from: string | undefined, until: string | undefined): number | undefined =>
  from === undefined || until === undefined ? undefined : (Date.parse(until) - Date.parse(from)) / 1000;
