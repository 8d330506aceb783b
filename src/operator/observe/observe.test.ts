import { Registry } from "prom-client";
import { describe, expect, it } from "vitest";
import type { Checkpoint, CheckpointStatus } from "../../api/checkpoint.ts";
import type { CheckpointRequest, RequestStatus } from "../../api/request.ts";
import type { CheckpointSchedule, ScheduleStatus } from "../../api/schedule.ts";
import { createMetrics } from "../../kube/prometheus.ts";
import { UNDER_WAY, WAITING } from "../context.ts";
import { countCheckpoint, countRequest } from "./count.ts";
import { overdueSeconds, registerGauges } from "./gauges.ts";
import { operatorMetricDefinitions } from "./metrics.ts";

const request = (status: RequestStatus): CheckpointRequest => ({
  metadata: { name: "r" },
  spec: { podReference: { name: "web" } },
  status,
});
const checkpoint = (status: CheckpointStatus): Checkpoint =>
  ({
    metadata: { name: "c" },
    spec: { checkpointTimestamp: "2026-01-01T00:00:00Z" },
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
      request({ phase: "Failed", reason: "DumpFailed" }),
    ];
    countRequest(metrics, { type: "apply", object: failed, previous: under });
    countRequest(metrics, { type: "apply", object: failed, previous: failed });
    countRequest(metrics, { type: "apply", object: failed });
    countRequest(metrics, { type: "delete", object: failed, previous: under });
    const counted = (await text(registry)).filter((line) => !line.endsWith(" 0"));
    expect(counted).toEqual(['kcr_requests_ended_total{phase="Failed",reason="DumpFailed"} 1']);
  });
  it("when a Checkpoint becomes good, and for each restore from it", async () => {
    const { registry, metrics } = createMetrics(operatorMetricDefinitions);
    const made = checkpoint({});
    const ready = checkpoint({ ...good, frozenMicroseconds: 250_000, sizeBytes: 1000 });
    const restored = { ...good, restoredCount: 2, lastRestoredTime: "2026-01-01T00:10:00Z" };
    countCheckpoint(metrics, { type: "apply", object: ready, previous: made });
    countCheckpoint(metrics, { type: "apply", object: ready, previous: ready });
    countCheckpoint(metrics, { type: "apply", object: checkpoint(restored), previous: ready });
    expect(await text(registry)).toEqual(
      expect.arrayContaining([
        'kcr_checkpoints_good_total{engine="runc"} 1',
        'kcr_checkpoint_ready_seconds_sum{engine="runc"} 3',
        'kcr_checkpoint_frozen_seconds_sum{engine="runc"} 0.25',
        'kcr_checkpoint_size_bytes_sum{engine="runc"} 1000',
        "kcr_restores_total 2",
        "kcr_restored_age_seconds_sum 600",
      ]),
    );
    expect((await text(registry)).some((line) => line.startsWith("kcr_checkpoint_paused"))).toBe(false);
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
      'kcr_schedule_overdue_seconds{namespace="team",schedule="saved"} 0',
      'kcr_schedule_overdue_seconds{namespace="team",schedule="late"} 3600',
      'kcr_schedules{state="active"} 2',
      'kcr_schedules{state="suspended"} 0',
      'kcr_requests{state="waiting"} 2',
      'kcr_requests{state="under_way"} 1',
      'kcr_checkpoints{state="good"} 1',
      'kcr_checkpoints{state="failed"} 1',
      'kcr_checkpoints{state="other"} 0',
      'kcr_stored_bytes{place="node",node="a"} 10',
      'kcr_stored_bytes{place="registry",node=""} 10',
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
  it("what fails at every slot is overdue since the first of them", () => {
    const failing = { lastRunTime: "2026-01-01T02:00:00Z" };
    const saved = schedule("s", { ...failing, lastSuccessfulTime: "2025-12-31T22:00:05Z" });
    expect(overdueSeconds(saved, now())).toBe(3 * 3600);
    const never = schedule("s", failing);
    never.metadata.creationTimestamp = "2025-12-31T23:30:00Z";
    expect(overdueSeconds(never, now())).toBe(2 * 3600);
    never.spec.schedule = "no cron";
    expect(overdueSeconds(never, now())).toBe(0);
  });
  it("nothing is overdue that is suspended or has not begun", () => {
    expect(overdueSeconds(schedule("s", { lastRunTime: "2026-01-01T00:00:00Z" }, true), now())).toBe(0);
    expect(overdueSeconds(schedule("s"), now())).toBe(0);
  });
});
