import { Registry } from "prom-client";
import { describe, expect, it } from "vitest";
import type { Checkpoint, CheckpointStatus } from "../../api/checkpoint.ts";
import type { CheckpointRequest, RequestStatus } from "../../api/request.ts";
import type { CheckpointSchedule, ScheduleStatus } from "../../api/schedule.ts";
import { createMetrics } from "../../kube/prometheus.ts";
import { UNDER_WAY, WAITING } from "../context.ts";
import { countCheckpoint, countRequest } from "./count.ts";
import { overdueSeconds, registerGauges, storedBytes } from "./gauges.ts";
import { operatorMetricDefinitions } from "./metrics.ts";

const request = (status: RequestStatus): CheckpointRequest => ({
  metadata: { name: "r" },
  spec: { podReference: { name: "web" } },
  status,
});
const checkpoint = (status: CheckpointStatus): Checkpoint =>
  ({
    metadata: { name: "c" },
    spec: { checkpointTimestamp: "2026-01-01T00:00:00Z", nodeName: "a" },
    status: { engine: "runc", ...status },
  }) as Checkpoint;
const good = {
  conditions: [
    {
      type: "Restorable",
      status: "True" as const,
      reason: "CopyVerified",
      message: "",
      lastTransitionTime: "2026-01-01T00:00:03Z",
    },
  ],
};
const schedule = (name: string, status?: ScheduleStatus, suspend = false): CheckpointSchedule => ({
  metadata: { name, namespace: "team" },
  spec: { schedule: "@hourly", selector: {}, suspend },
  status,
});
const text = async (registry: Registry) =>
  (await registry.metrics()).split("\n").filter((line) => /^kcr_/.test(line) && !line.includes("_bucket"));

describe("what happens is counted", () => {
  it("once, when a request ends, by how; not what had ended before it was heard of", async () => {
    const { registry, metrics } = createMetrics(operatorMetricDefinitions);
    const [under, failed] = [
      request({ phase: "InProgress" }),
      request({ phase: "Failed", reason: "CheckpointFailed" }),
    ];
    countRequest(metrics, { type: "apply", object: failed, previous: under });
    countRequest(metrics, { type: "apply", object: failed, previous: failed });
    countRequest(metrics, { type: "apply", object: failed });
    countRequest(metrics, { type: "delete", object: failed, previous: under });
    const counted = (await text(registry)).filter((line) => !line.endsWith(" 0"));
    expect(counted).toEqual(['kcr_requests_ended_total{phase="Failed",reason="CheckpointFailed"} 1']);
  });
  it("when a Checkpoint becomes good, once, and when it fails", async () => {
    const { registry, metrics } = createMetrics(operatorMetricDefinitions);
    const made = checkpoint({});
    const ready = checkpoint(good);
    countCheckpoint(metrics, { type: "apply", object: ready, previous: made });
    countCheckpoint(metrics, { type: "apply", object: ready, previous: ready });
    const failed = checkpoint({
      phase: "Failed",
      conditions: [{ ...good.conditions[0]!, status: "False", reason: "ArchiveInvalid" }],
    });
    countCheckpoint(metrics, { type: "apply", object: failed, previous: made });
    expect(await text(registry)).toEqual([
      'kcr_checkpoints_good_total{engine="runc"} 1',
      'kcr_checkpoints_failed_total{reason="ArchiveInvalid"} 1',
    ]);
  });
  it("under the codes there are, whatever an agent writes for a reason", async () => {
    const { registry, metrics } = createMetrics(operatorMetricDefinitions);
    for (const reason of ["one", "two", "constructor"]) {
      const failed = request({ phase: "Failed", reason });
      countRequest(metrics, { type: "apply", object: failed, previous: request({ phase: "InProgress" }) });
    }
    expect(await text(registry)).toEqual(['kcr_requests_ended_total{phase="Failed",reason="Other"} 3']);
  });
});

describe("how things stand", () => {
  const caches = (all: CheckpointSchedule[]) =>
    ({
      schedules: { list: () => [...all], size: all.length },
      checkpoints: {
        list: () => [
          checkpoint({ ...good, sizeBytes: 10, copies: [{ kind: "Node", node: "a" }, { kind: "Registry" }] }),
          checkpoint({ phase: "Failed" }),
        ],
      },
      nodes: { get: (_: undefined, name: string) => (name === "a" ? {} : undefined) },
      requests: { byIndex: (index: string) => (index === WAITING ? [1, 2] : index === UNDER_WAY ? [1] : []) },
    }) as never;
  const now = () => new Date("2026-01-01T02:00:00Z");

  it("is said by the replica that leads, and by no other", async () => {
    const registry = new Registry();
    let isLeading = false;
    const saved = schedule("saved", {
      lastRunTime: "2026-01-01T01:00:00Z",
      lastSuccessfulTime: "2026-01-01T01:00:05Z",
    });
    const late = schedule("late", { lastRunTime: "2026-01-01T01:00:00Z" });
    registerGauges(registry, { caches: caches([saved, late]), isLeading: () => isLeading, now });
    expect(await text(registry)).toEqual([]);
    isLeading = true;
    expect(await text(registry)).toEqual([
      `kcr_last_good_checkpoint_timestamp_seconds{namespace="team",schedule="saved"} ${Date.parse("2026-01-01T01:00:05Z") / 1000}`,
      'kcr_last_good_checkpoint_timestamp_seconds{namespace="team",schedule="late"} 0',
      'kcr_schedule_overdue_seconds{namespace="team",schedule="late"} 3600',
      'kcr_schedule_overdue_seconds{namespace="team",schedule="saved"} 0',
      'kcr_schedules{state="active"} 2',
      'kcr_schedules{state="suspended"} 0',
      'kcr_requests{state="waiting"} 2',
      'kcr_requests{state="under_way"} 1',
      'kcr_checkpoints{state="good"} 1',
      'kcr_checkpoints{state="failed"} 1',
      'kcr_checkpoints{state="other"} 0',
      'kcr_stored_bytes{place="node",node="a"} 10',
      'kcr_stored_bytes{place="registry",node="a"} 10',
    ]);
  });
  it("has a thousand workloads at most, those whose state is oldest", async () => {
    const registry = new Registry();
    const many = Array.from({ length: 1500 }, (_, n) =>
      schedule(`s${n}`, { lastSuccessfulTime: new Date(Date.UTC(2026, 0, 1) - n * 1000).toISOString() }),
    );
    registerGauges(registry, { caches: caches(many), isLeading: () => true, now });
    const lines = (await text(registry)).filter((line) => line.startsWith("kcr_last_good"));
    expect(lines).toHaveLength(1000);
    expect(lines.some((line) => line.includes('"s1499"'))).toBe(true);
    expect(lines.some((line) => line.includes('"s0"'))).toBe(false);
  });
  it("names what is overdue, however many older ones there are that are not", async () => {
    const registry = new Registry();
    const yearly = Array.from({ length: 1200 }, (_, n) =>
      schedule(`old${n}`, {
        lastRunTime: "2025-01-01T00:00:00Z",
        lastSuccessfulTime: "2025-01-01T00:00:05Z",
      }),
    );
    const late = schedule("late", {
      lastRunTime: "2026-01-01T01:00:00Z",
      lastSuccessfulTime: "2026-01-01T00:00:05Z",
    });
    registerGauges(registry, { caches: caches([...yearly, late]), isLeading: () => true, now });
    const lines = (await text(registry)).filter((line) => line.startsWith("kcr_schedule_overdue"));
    expect(lines).toHaveLength(1000);
    expect(lines).toContain('kcr_schedule_overdue_seconds{namespace="team",schedule="late"} 3600');
  });
  it("keeps what one node's agent tells from the sums of others, and names no node that there is not", () => {
    const at = (nodeName: string, node: string, sizeBytes: number): Checkpoint => ({
      ...checkpoint({ copies: [{ kind: "Node", node }, { kind: "Registry" }], sizeBytes }),
      spec: { nodeName } as Checkpoint["spec"],
    });
    const all = [at("a", "a", 10), at("liar", "a", 1e15), at("gone-1", "a", 1), at("gone-2", "b", 2)];
    expect([...storedBytes(all, (name) => name === "a" || name === "liar")]).toEqual([
      ["a", { node: 10, registry: 10 }],
      ["liar", { node: 1e15, registry: 1e15 }],
      ["", { node: 3, registry: 3 }],
    ]);
  });
  it("what fails at every slot is overdue since the first of them", () => {
    const failing = { lastRunTime: "2026-01-01T02:00:00Z" };
    const saved = schedule("s", { ...failing, lastSuccessfulTime: "2025-12-31T22:00:05Z" });
    expect(overdueSeconds(saved, now())).toBe(3 * 3600);
    const never = schedule("s", failing);
    never.metadata.creationTimestamp = "2025-12-31T23:30:00Z";
    expect(overdueSeconds(never, now())).toBe(2 * 3600);
    const unread = { ...never, spec: { ...never.spec, schedule: "no cron" } };
    expect(overdueSeconds(unread, now())).toBe(0);
  });
  it("nothing is overdue that is suspended or has not begun", () => {
    expect(overdueSeconds(schedule("s", { lastRunTime: "2026-01-01T00:00:00Z" }, true), now())).toBe(0);
    expect(overdueSeconds(schedule("s"), now())).toBe(0);
    const young = schedule("s", { lastRunTime: "2025-12-31T00:00:00Z" });
    young.metadata.creationTimestamp = "2025-12-31T23:30:00Z";
    expect(overdueSeconds(young, now())).toBe(0);
  });
});
