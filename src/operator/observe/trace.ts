import type { Checkpoint } from "../../api/checkpoint.ts";
import { findCondition } from "../../api/conditions.ts";
import { isTerminal } from "../../api/kinds.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import { requestOf, type StepOver, slotSpan, stepSpan, timeOf } from "../../api/trace.ts";
import type { Span } from "../../kube/otlp.ts";
import type { Change } from "../../kube/subscription.ts";
import type { Context } from "../context.ts";

/** What ended so long before it is first seen was told of by whoever led then, in milliseconds. */
const RECENT_MS = 60_000;

/** Writes the operator's spans of checkpoints for as long as this replica leads. */
export function traceChanges({ caches, tracer, leading, now }: Context): void {
  if (tracer === undefined) return;
  const write = (spans: readonly (Span | undefined)[]) => {
    const since = now().getTime() - RECENT_MS;
    for (const span of spans) if (span !== undefined && span.end.getTime() >= since) tracer.write(span);
  };
  const find = caches.requests.get.bind(caches.requests);
  const stops = [
    caches.requests.subscribe((change) => write(requestSpans(change))),
    caches.checkpoints.subscribe((change) => write([checkpointSpan(change, find)])),
  ];
  const end = () => {
    for (const stop of stops) stop();
  };
  leading.addEventListener("abort", end, { once: true });
}

/** What a change of a request tells: that it was given to a node, or has failed. */
export function requestSpans({ type, object, previous }: Change<CheckpointRequest>): (Span | undefined)[] {
  if (type === "delete") return [];
  const { metadata, status } = object;
  const start = timeOf(metadata.creationTimestamp);
  const spans: (Span | undefined)[] = [];
  if (status?.acceptedTime !== undefined && previous?.status?.acceptedTime === undefined) {
    spans.push(slotSpan(object), stepSpan(object, "admission", { start, end: timeOf(status.acceptedTime) }));
  }
  if (status?.phase === "Failed" && (previous === undefined || !isTerminal(previous))) {
    const { reason: error = "Unknown", completionTime } = status;
    spans.push(stepSpan(object, "checkpoint", { start, end: timeOf(completionTime), error }));
  }
  return spans;
}

/** What a change of a Checkpoint tells: that it is restorable, or never will be. */
export function checkpointSpan(
  { type, object, previous }: Change<Checkpoint>,
  find: Parameters<typeof requestOf>[1],
): Span | undefined {
  if (type === "delete") return undefined;
  const over = ended(object);
  if (over === undefined || (previous !== undefined && ended(previous) !== undefined)) return undefined;
  const request = requestOf(object, find);
  if (request === undefined) return undefined;
  const { sizeBytes, frozenMicroseconds, pausedMicroseconds, engine } = object.status ?? {};
  return stepSpan(request, "checkpoint", {
    start: timeOf(request.metadata.creationTimestamp),
    ...over,
    attributes: {
      "kcr.checkpoint": object.metadata.name,
      "kcr.engine": engine,
      "kcr.size_bytes": sizeBytes,
      "kcr.frozen_us": frozenMicroseconds,
      "kcr.paused_us": pausedMicroseconds,
    },
  });
}

/** When it became restorable, or failed; one of which either was said has ended for good. */
function ended({ status }: Checkpoint): Pick<StepOver, "end" | "error"> | undefined {
  const restorable = findCondition(status?.conditions, "Restorable");
  if (restorable?.status === "True") return { end: timeOf(restorable.lastTransitionTime) };
  if (restorable !== undefined) {
    return { end: timeOf(restorable.lastTransitionTime), error: restorable.reason };
  }
  if (status?.phase !== "Failed") return undefined;
  const why = status.conditions?.find(({ status }) => status === "False")?.reason;
  return { end: timeOf(status.lastTransitionTime), error: why ?? "Unknown" };
}
