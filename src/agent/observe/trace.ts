import { type Checkpoint, LOCAL_COPY } from "../../api/checkpoint.ts";
import { findCondition } from "../../api/conditions.ts";
import { isTerminal } from "../../api/kinds.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import { requestOf, stepSpan, timeOf } from "../../api/trace.ts";
import type { Span } from "../../kube/otlp.ts";
import type { Change } from "../../kube/subscription.ts";
import type { Context } from "../context.ts";
import { dumpedTime } from "./count.ts";

/** What ended so long before it is first seen was told of by the process before, in milliseconds. */
const RECENT_MS = 60_000;

/** Writes the agent's spans of the checkpoints of its node from now on. */
export function traceChanges({ caches, tracer, now }: Pick<Context, "caches" | "tracer" | "now">): void {
  if (tracer === undefined) return;
  const write = (span: Span | undefined) => {
    if (span !== undefined && span.end.getTime() >= now().getTime() - RECENT_MS) tracer.write(span);
  };
  const find = caches.requests.get.bind(caches.requests);
  caches.requests.subscribe((change) => write(dumpSpan(change)));
  caches.checkpoints.subscribe((change) => {
    for (const span of archiveSpans(change, find)) write(span);
  });
}

/** The dump of a request that has ended now. */
export function dumpSpan({ type, object, previous }: Change<CheckpointRequest>): Span | undefined {
  if (type === "delete" || !isTerminal(object)) return undefined;
  if (previous !== undefined && isTerminal(previous)) return undefined;
  const { startTime, completionTime, phase, reason } = object.status ?? {};
  return stepSpan(object, "dump", {
    start: timeOf(startTime),
    end: timeOf(completionTime),
    error: phase === "Failed" ? (reason ?? "Unknown") : undefined,
  });
}

/** What became of the archive: a copy on the node, an image in the registry. */
export function archiveSpans(
  { type, object, previous }: Change<Checkpoint>,
  find: Parameters<typeof requestOf>[1],
): (Span | undefined)[] {
  const request = type === "delete" || previous === undefined ? undefined : requestOf(object, find);
  if (request === undefined) return [];
  const [before, status] = [previous?.status, object.status];
  const attributes = { "kcr.checkpoint": object.metadata.name, "kcr.size_bytes": status?.sizeBytes };
  const spans: (Span | undefined)[] = [];
  const copy = findCondition(status?.conditions, LOCAL_COPY);
  const isFirst = findCondition(before?.conditions, LOCAL_COPY) === undefined;
  if (previous !== undefined && copy?.status === "True" && isFirst) {
    const start = timeOf(dumpedTime(previous, request));
    spans.push(stepSpan(request, "copy", { start, end: timeOf(copy.lastTransitionTime), attributes }));
  }
  if (before?.phase === "Processing" && status?.phase === "ImageBuilt") {
    const start = timeOf(before.lastTransitionTime);
    spans.push(stepSpan(request, "push", { start, end: timeOf(status.lastTransitionTime), attributes }));
  }
  return spans;
}
