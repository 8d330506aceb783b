import { describe, expect, it } from "vitest";
import type { Checkpoint, CheckpointStatus } from "../../api/checkpoint.ts";
import { SLOT_ANNOTATION, TRACEPARENT_ANNOTATION } from "../../api/labels.ts";
import type { CheckpointRequest, RequestStatus } from "../../api/request.ts";
import { slotTraceparent } from "../../api/trace.ts";
import { checkpointSpan, requestSpans } from "./trace.ts";

const time = (second: number): string => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString();
const request = (status: RequestStatus, traceparent?: string): CheckpointRequest => ({
  metadata: {
    name: "r",
    namespace: "team",
    uid: "request-uid",
    creationTimestamp: time(10),
    annotations: {
      [SLOT_ANNOTATION]: time(0),
      ...(traceparent === undefined ? {} : { [TRACEPARENT_ANNOTATION]: traceparent }),
    },
  },
  spec: {
    podReference: { name: "web" },
    checkpointScheduleRef: {
      apiVersion: "v1",
      kind: "CheckpointSchedule",
      name: "web",
      uid: "schedule-uid",
    },
  },
  status,
});
const checkpoint = (status: CheckpointStatus): Checkpoint =>
  ({
    metadata: {
      name: "c",
      namespace: "team",
      ownerReferences: [{ apiVersion: "v1", kind: "CheckpointRequest", name: "r", uid: "request-uid" }],
    },
    spec: {},
    status,
  }) as unknown as Checkpoint;
const restorable = (status: "True" | "False", reason = "CopyVerified"): CheckpointStatus => ({
  conditions: [{ type: "Restorable", status, reason, message: "", lastTransitionTime: time(20) }],
});
const own = slotTraceparent("schedule-uid", "r");
const accepted = { nodeName: "a", acceptedTime: time(12) };
const admitted = (traceparent?: string) =>
  requestSpans({ type: "apply", object: request(accepted, traceparent), previous: request({}, traceparent) });

describe("a checkpoint is one trace", () => {
  it("that begins with the slot, and holds together", () => {
    const [slot, admission] = admitted(own);
    const find = () => request({}, own);
    const whole = checkpointSpan({ type: "apply", object: checkpoint(restorable("True")) }, find);
    expect(slot).toMatchObject({ name: "slot", start: new Date(time(0)), end: new Date(time(10)) });
    expect(slot?.parentSpanId).toBeUndefined();
    expect(own).toContain(`${slot?.traceId}-${slot?.spanId}`);
    expect(whole).toMatchObject({
      name: "checkpoint",
      traceId: slot?.traceId,
      parentSpanId: slot?.spanId,
      start: new Date(time(10)),
      end: new Date(time(20)),
    });
    expect(whole?.error).toBeUndefined();
    expect(admission).toMatchObject({
      name: "admission",
      traceId: slot?.traceId,
      parentSpanId: whole?.spanId,
      end: new Date(time(12)),
    });
  });

  it("of a person's own, if there is one", () => {
    const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
    const given = `00-${traceId}-00f067aa0ba902b7-01`;
    const [slot, admission] = admitted(given);
    expect(slot).toBeUndefined();
    expect(admission?.traceId).toBe(traceId);
    const whole = checkpointSpan({ type: "apply", object: checkpoint(restorable("True")) }, () =>
      request({}, given),
    );
    expect(whole).toMatchObject({ traceId, parentSpanId: "00f067aa0ba902b7" });
  });

  it("and none where the person wants none", () => {
    expect(admitted("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")).toEqual([
      undefined,
      undefined,
    ]);
  });

  it("told of once, when it is over, and what went wrong with it", () => {
    const good = checkpoint(restorable("True"));
    const find = () => request({}, own);
    expect(checkpointSpan({ type: "apply", object: checkpoint({}) }, find)).toBeUndefined();
    expect(checkpointSpan({ type: "apply", object: good, previous: good }, find)).toBeUndefined();
    const bad = checkpoint(restorable("False", "ArchiveInvalid"));
    const span = checkpointSpan({ type: "apply", object: bad, previous: checkpoint({}) }, find);
    expect(span).toMatchObject({ error: "ArchiveInvalid", attributes: { "error.type": "ArchiveInvalid" } });
    const other = { ...request({}, own), metadata: { ...request({}).metadata, uid: "another" } };
    expect(checkpointSpan({ type: "apply", object: good }, () => other)).toBeUndefined();
    const failed = request({ phase: "Failed", reason: "NodeLost", completionTime: time(15) }, own);
    expect(requestSpans({ type: "apply", object: failed, previous: request({}, own) })).toMatchObject([
      { name: "checkpoint", error: "NodeLost", spanId: span?.spanId },
    ]);
  });
});
