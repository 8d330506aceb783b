import { describe, expect, it } from "vitest";
import type { Checkpoint } from "../../api/checkpoint.ts";
import type { Condition } from "../../api/common.ts";
import type { CheckpointSchedule, ScheduleSpec, ScheduleStatus } from "../../api/schedule.ts";
import type { Pod } from "../../kube/resources.ts";
import type { Workload } from "../objects/pods.ts";
import { assess, type Surroundings } from "./assess.ts";

const now = new Date("2026-01-01T12:07:00Z");
const condition = (type: string, status: "True" | "False", reason: string): Condition => ({
  type,
  status,
  reason,
  message: `${reason} it is`,
  lastTransitionTime: "2026-01-01T10:00:00Z",
});
const all = [condition("Ready", "True", "Scheduled"), condition("Strategy", "True", "HandlerClass")];

const owner = { apiVersion: "apps/v1", kind: "Deployment", name: "web", uid: "w1", controller: true };
const workload = {
  kind: "Deployment",
  metadata: {
    name: "web",
    namespace: "shop",
    uid: "w1",
    labels: { team: "a" },
    annotations: { "kcr.io/checkpoint-restore-schedule": "*/10 * * * *" },
  },
} as Workload;
const schedule = (
  status: Partial<ScheduleStatus> = {},
  spec: Partial<ScheduleSpec> = {},
): CheckpointSchedule => ({
  kind: "CheckpointSchedule",
  metadata: {
    name: "web",
    namespace: "shop",
    creationTimestamp: "2026-01-01T09:00:00Z",
    ownerReferences: [owner],
  },
  spec: { schedule: "*/10 * * * *", selector: { matchLabels: { app: "web" } }, ...spec },
  status: { nextRunTime: "2026-01-01T12:10:00Z", conditions: all, ...status },
});
const pod = (name = "web-1", more: object = {}): Pod =>
  ({
    metadata: { name, namespace: "shop", uid: name, labels: { app: "web" } },
    spec: { containers: [{ name: "app" }, { name: "side" }] },
    status: { phase: "Running", startTime: "2026-01-01T09:00:00Z", ...more },
  }) as unknown as Pod;
const checkpoint = (time: string, of = "web-1", more: object = {}): Checkpoint => ({
  metadata: { name: `${of}-${time}`, namespace: "shop" },
  spec: {
    checkpointTimestamp: `2026-01-01T${time}Z`,
    containerName: "app",
    nodeName: "n",
    checkpointID: "x",
    checkpointData: "x.tar",
    checkpointScheduleRef: { name: "web" },
  },
  status: {
    conditions: [condition("Restorable", "True", "ImageVerified")],
    lineage: { podUID: of, containerID: "c", restartCount: 0 },
    ...more,
  },
});
const around = (given: Partial<Surroundings> = {}): Surroundings => ({
  now,
  schedules: [schedule()],
  pods: [pod()],
  checkpoints: [checkpoint("12:00:01")],
  workloads: [workload],
  ...given,
});
const one = (given: Partial<Surroundings> = {}) => assess(around(given))[0];
const codes = (given: Partial<Surroundings>) => one(given)?.problems.map(({ code }) => code);

describe("a protected workload", () => {
  it("is well when each container has a good checkpoint of its last slot", () => {
    expect(one()).toMatchObject({
      namespace: "shop",
      kind: "Deployment",
      name: "web",
      schedule: "web",
      labels: { team: "a" },
      health: "OK",
      problems: [],
      lastGood: "2026-01-01T12:00:01Z",
      strategy: "Runtime",
      pods: 1,
      goodCheckpoints: 1,
    });
  });

  it("is as old as the worst of its containers", () => {
    const checkpoints = [checkpoint("12:00:01"), checkpoint("12:00:02", "web-2"), checkpoint("12:03:00")];
    expect(one({ pods: [pod(), pod("web-2")], checkpoints })?.lastGood).toBe("2026-01-01T12:00:02Z");
    expect(one({ pods: [pod(), pod("web-2")] })?.lastGood, "one has none").toBeUndefined();
  });

  it.each<[string, Partial<Surroundings>, string[]]>([
    ["a good one of the slot before only", { checkpoints: [checkpoint("11:50:01")] }, ["CheckpointLate"]],
    ["none at all", { checkpoints: [] }, ["CheckpointLate"]],
    [
      "one that is not good",
      {
        checkpoints: [
          checkpoint("12:00:01", "web-1", { conditions: [condition("Restorable", "False", "X")] }),
        ],
      },
      ["CheckpointLate"],
    ],
    ["one of another pod", { checkpoints: [checkpoint("12:00:01", "web-2")] }, ["CheckpointLate"]],
    [
      "a slot that still has its time",
      { now: new Date("2026-01-01T12:04:00Z"), checkpoints: [checkpoint("11:50:01")] },
      [],
    ],
    [
      "a pod that began after the slot",
      { pods: [pod("web-1", { startTime: "2026-01-01T12:01:00Z" })], checkpoints: [] },
      [],
    ],
    ["a suspended schedule", { schedules: [schedule({}, { suspend: true })], checkpoints: [] }, []],
    [
      "one on demand, since",
      {
        checkpoints: [
          {
            ...checkpoint("12:03:00"),
            spec: { ...checkpoint("12:03:00").spec, checkpointScheduleRef: undefined },
          },
        ],
      },
      [],
    ],
    [
      "an operator that is away",
      { schedules: [schedule({ nextRunTime: "2026-01-01T12:00:00Z" })] },
      ["ScheduleStalled"],
    ],
    [
      "conditions that are not as they should be",
      {
        schedules: [
          schedule({
            conditions: [
              condition("Ready", "False", "NoMatchingPods"),
              condition("Succeeding", "False", "CheckpointFailed"),
              condition("Strategy", "False", "RuntimeFromNextPod"),
            ],
          }),
        ],
      },
      ["NoMatchingPods", "CheckpointFailed", "RuntimeFromNextPod"],
    ],
    [
      "a pod that lost its state, and nothing good since",
      {
        pods: [
          pod("web-1", {
            conditions: [
              {
                type: "kcr.io/Restored",
                status: "False",
                reason: "StartedFresh",
                message: "x",
                lastTransitionTime: "2026-01-01T12:01:00Z",
              },
            ],
          }),
        ],
      },
      ["StartedFresh"],
    ],
    [
      "a pod that lost its state, long ago",
      {
        pods: [
          pod("web-1", {
            conditions: [
              {
                type: "kcr.io/Restored",
                status: "False",
                reason: "StartedFresh",
                message: "x",
                lastTransitionTime: "2026-01-01T11:00:00Z",
              },
            ],
          }),
        ],
      },
      [],
    ],
    ["an annotation that became no schedule", { schedules: [] }, ["ScheduleMissing"]],
    [
      "an annotation that was refused",
      {
        schedules: [],
        workloads: [
          {
            ...workload,
            status: { conditions: [condition("kcr.io/Protected", "False", "ScheduleNameTaken")] },
          },
        ],
      },
      ["ScheduleNameTaken"],
    ],
  ])("with %s", (_what, given, expected) => {
    expect(codes(given)).toEqual(expected);
    expect(one(given)?.health === "Problem").toBe(expected.length > 0);
  });

  it("waits before its first slot, and is suspended when told so", () => {
    expect(
      one({ pods: [pod("web-1", { startTime: "2026-01-01T12:06:00Z" })], checkpoints: [] })?.health,
    ).toBe("Waiting");
    expect(one({ schedules: [schedule({}, { suspend: true })] })).toMatchObject({
      health: "Suspended",
      nextRun: undefined,
    });
  });

  it("was last restored when any of its checkpoints was", () => {
    const restored = { lastRestoredTime: "2026-01-01T11:55:00Z", conditions: [] };
    const checkpoints = [checkpoint("12:00:01"), checkpoint("11:50:01", "web-0", restored)];
    expect(one({ checkpoints })?.lastRestore).toEqual({
      time: "2026-01-01T11:55:00Z",
      checkpoint: "web-0-11:50:01",
    });
  });

  it("comes behind those with problems", () => {
    const other = { ...schedule({ conditions: [condition("Ready", "False", "X")] }) };
    other.metadata = { ...other.metadata, name: "zzz", ownerReferences: [] };
    expect(assess(around({ schedules: [schedule(), other] })).map(({ name }) => name)).toEqual([
      "zzz",
      "web",
    ]);
  });
});
