import { createHash } from "node:crypto";
import type { Span } from "../kube/otlp.ts";
import { formatTraceparent, parseTraceparent, type Traceparent } from "../kube/traceparent.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { SLOT_ANNOTATION, TRACEPARENT_ANNOTATION } from "./labels.ts";
import type { CheckpointRequest } from "./request.ts";

/**
 * One checkpoint is one trace, over operator and agent:
 *
 *   slot          from its due time until the request is made; of requests by a schedule only
 *   └ checkpoint  from the request until its Checkpoint is restorable, or failed
 *     ├ admission until the operator has given it to a node
 *     ├ dump      by the agent, with what it took to read the archive back
 *     ├ copy      until the node has a verified copy
 *     └ push      until the image is verified in the registry
 *
 * The context travels in an annotation of the request; one that a person puts there is gone on from. Spans begin and
 * end at times that objects record, and their ids follow from the request's UID: whoever sees that a step is over
 * writes its span, after a restart too, and a span written twice is the same one.
 */
export type Step = "checkpoint" | "admission" | "dump" | "copy" | "push";

const hash = (text: string): string => createHash("sha256").update(text).digest("hex");

/** The context of a slot's request, which its schedule's UID and its own name tell apart from all others. */
const slotContext = (scheduleUID: string, request: string): Traceparent => {
  const digest = hash(`slot/${scheduleUID}/${request}`);
  return { traceId: digest.slice(0, 32), spanId: digest.slice(32, 48), sampled: true };
};

/** Text of the annotation of a slot's request. */
export const slotTraceparent = (scheduleUID: string, request: string): string =>
  formatTraceparent(slotContext(scheduleUID, request));

/** Where a request's spans belong. Undefined where whoever made it wants none. */
function contextOf({ metadata }: CheckpointRequest): { traceId: string; parent?: string } | undefined {
  const given = parseTraceparent(metadata.annotations?.[TRACEPARENT_ANNOTATION]);
  if (given === undefined) return { traceId: hash(`request/${metadata.uid}`).slice(0, 32) };
  return given.sampled ? { traceId: given.traceId, parent: given.spanId } : undefined;
}

const spanIdOf = ({ metadata }: CheckpointRequest, step: Step): string =>
  hash(`${step}/${metadata.uid}`).slice(0, 16);

/** What is to be said of one step that is over. */
export interface StepOver {
  start: Date;
  end: Date;
  attributes?: Span["attributes"];
  /** The error's code, where it failed. */
  error?: string | undefined;
}

/** The span of a step; undefined where none is wanted, or a time is not known. */
export function stepSpan(
  request: CheckpointRequest,
  step: Step,
  { start, end, attributes, error }: StepOver,
): Span | undefined {
  const context = contextOf(request);
  if (context === undefined || !isTime(start) || !isTime(end)) return undefined;
  return {
    traceId: context.traceId,
    spanId: spanIdOf(request, step),
    parentSpanId: step === "checkpoint" ? context.parent : spanIdOf(request, "checkpoint"),
    name: step,
    start,
    end,
    attributes: { ...attributesOf(request), ...attributes, "error.type": error },
    error,
  };
}

/** The span of the slot that a request is of; undefined where it is of none, or its context is a person's. */
export function slotSpan(request: CheckpointRequest): Span | undefined {
  const { annotations, name, creationTimestamp } = request.metadata;
  const { uid } = request.spec.checkpointScheduleRef ?? {};
  const start = timeOf(annotations?.[SLOT_ANNOTATION]);
  const end = timeOf(creationTimestamp);
  if (uid === undefined || annotations?.[TRACEPARENT_ANNOTATION] !== slotTraceparent(uid, name)) {
    return undefined;
  }
  if (!isTime(start) || !isTime(end)) return undefined;
  const { traceId, spanId } = slotContext(uid, name);
  return { traceId, spanId, name: "slot", start, end, attributes: attributesOf(request) };
}

/** The request that a Checkpoint was made for, of those that `find` finds. */
export function requestOf(
  { metadata }: Checkpoint,
  find: (namespace: string | undefined, name: string) => CheckpointRequest | undefined,
): CheckpointRequest | undefined {
  for (const { kind, name, uid } of metadata.ownerReferences ?? []) {
    const request = kind === "CheckpointRequest" ? find(metadata.namespace, name) : undefined;
    if (request?.metadata.uid === uid) return request;
  }
  return undefined;
}

/** Of a text that is none, a Date that is none. */
export const timeOf = (text: string | undefined): Date => new Date(text ?? Number.NaN);
const isTime = (time: Date): boolean => !Number.isNaN(time.getTime());

/** Source of the names: OpenTelemetry's semantic conventions, https://opentelemetry.io/docs/specs/semconv/resource/k8s/. */
const attributesOf = ({ metadata, spec, status }: CheckpointRequest): Span["attributes"] => ({
  "k8s.namespace.name": metadata.namespace,
  "k8s.pod.name": spec.podReference.name,
  "k8s.container.name": status?.containerName ?? spec.containerName,
  "k8s.node.name": status?.nodeName,
  "kcr.request": metadata.name,
  "kcr.schedule": spec.checkpointScheduleRef?.name,
});
