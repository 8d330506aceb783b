import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Checkpoint } from "../../api/checkpoint.ts";
import { KcrError } from "../../api/errors.ts";
import { lineageOf } from "../../api/lineage.ts";
import type { ContainerStatus } from "../../api/pod.ts";
import { type ContainerRecord, containerRecord } from "../../api/records.ts";
import { decideRestore, type RestoreInput } from "./decide.ts";

const NOW = new Date("2026-01-01T01:00:00Z");
const ORIGINAL = "registry/app:1";
const imageOf = (name: string) => `registry/kcr/shop/checkpoint-web-app@sha256:${name}`;

interface Made {
  minute: number;
  run: number;
  parent?: string;
  good?: boolean;
  poisoned?: boolean;
}
const checkpoint = (
  name: string,
  { minute, run, parent, good = true, poisoned = false }: Made,
): Checkpoint => ({
  metadata: { name, namespace: "shop" },
  spec: {
    checkpointData: "c.tar",
    checkpointTimestamp: new Date(Date.UTC(2026, 0, 1, 0, minute)).toISOString(),
    checkpointID: name,
    containerName: "app",
    nodeName: "worker",
  },
  status: {
    phase: good ? "ImageBuilt" : "Failed",
    runtimeImage: imageOf(name),
    baseImage: ORIGINAL,
    lineage: { podUID: "pod", containerID: `c${run}`, restartCount: run, parent },
    conditions: [
      {
        type: "Restorable",
        status: good ? "True" : "False",
        reason: "x",
        message: "",
        lastTransitionTime: "",
      },
      {
        type: "Poisoned",
        status: poisoned ? "True" : "False",
        reason: "x",
        message: "",
        lastTransitionTime: "",
      },
    ],
  },
});

type State = ContainerStatus["state"];
const ended = (exitCode: number, reason = "Error", seconds = 600) => ({
  exitCode,
  reason,
  startedAt: "2026-01-01T00:00:00Z",
  finishedAt: new Date(Date.UTC(2026, 0, 1, 0, 0, seconds)).toISOString(),
});
const running: State = { running: { startedAt: "2026-01-01T00:59:58Z" } };
const status = (
  restartCount: number,
  state: State,
  lastState: State = {},
  image = ORIGINAL,
): ContainerStatus =>
  ({ name: "app", image, imageID: image, ready: true, restartCount, state, lastState }) as ContainerStatus;

const all = [checkpoint("a1", { minute: 1, run: 0 }), checkpoint("a2", { minute: 2, run: 0 })];
const decide = (input: Partial<RestoreInput> & { status: ContainerStatus }, among: Checkpoint[] = all) =>
  decideRestore(
    {
      specImage: ORIGINAL,
      restartPolicy: "Always",
      wanted: true,
      maxAttempts: 3,
      fallback: "FreshStart",
      stableMs: 30_000,
      lineage: (restartCount, parent) =>
        lineageOf({ podUID: "pod", container: "app", restartCount, parent }, among),
      checkpointOf: (image) =>
        among.find((c) => c.status?.runtimeImage === image) ??
        (image.includes("/checkpoint-") ? "unknown" : undefined),
      caughtUp: true,
      graceMs: 10_000,
      obstacle: () => undefined,
      ...input,
    },
    NOW,
  );
const record = (more: Partial<ContainerRecord> = {}): ContainerRecord => ({
  originalImage: ORIGINAL,
  run: 0,
  crashes: 0,
  ...more,
});
const swappedTo = (decision: ReturnType<typeof decide>) =>
  decision.type === "swap" ? decision.image : decision.type;

describe("a container that failed", () => {
  it.each([
    ["running again", status(1, running, { terminated: ended(137) })],
    ["killed for memory and running again", status(1, running, { terminated: ended(137, "OOMKilled") })],
    [
      "waiting in CrashLoopBackOff",
      status(0, { waiting: { reason: "CrashLoopBackOff" } }, { terminated: ended(1) }),
    ],
    ["restarted so often that its end is not known any more", status(4, running, { terminated: ended(0) })],
  ])("%s, gets the newest good checkpoint as its image", (_, seen) => {
    const decision = decide({ status: seen });
    expect(swappedTo(decision)).toBe(imageOf("a2"));
    expect(decision).toMatchObject({
      record: { originalImage: ORIGINAL, run: 0, restore: { checkpoint: "a2", after: seen.restartCount } },
    });
  });

  it("skips a newest checkpoint that failed for an older good one", () => {
    const failed = [...all, checkpoint("a3", { minute: 3, run: 0, good: false })];
    expect(swappedTo(decide({ status: status(1, running, { terminated: ended(1) }) }, failed))).toBe(
      imageOf("a2"),
    );
  });

  it("never gets a checkpoint taken of the empty container between crash and restore", () => {
    const between = [...all, checkpoint("empty", { minute: 9, run: 1 })];
    expect(swappedTo(decide({ status: status(1, running, { terminated: ended(1) }) }, between))).toBe(
      imageOf("a2"),
    );
  });

  it("without any checkpoint starts afresh, and that is said once", () => {
    const decision = decide({ status: status(1, running, { terminated: ended(1) }) }, []);
    expect(decision).toMatchObject({
      type: "settle",
      record: { run: 1 },
      outcome: { type: "lost", error: { code: "NoCheckpoint" } },
    });
    expect(
      decide({ status: status(1, running, { terminated: ended(1) }), record: record({ run: 1 }) }, []).type,
    ).toBe("nothing");
  });

  it("with exit code 0 starts afresh", () => {
    const decision = decide({ status: status(1, running, { terminated: ended(0, "Completed") }) });
    expect(decision).toMatchObject({ type: "settle", outcome: { type: "fresh" }, record: { run: 1 } });
  });

  it("is not overtaken while the kubelet is about to restart it", () => {
    expect(decide({ status: status(0, { terminated: ended(1) }) }).type).toBe("nothing");
  });

  it("that will not be restarted is left alone", () => {
    expect(decide({ status: status(0, { terminated: ended(1) }), restartPolicy: "Never" }).type).toBe(
      "nothing",
    );
    expect(decide({ status: status(0, { terminated: ended(0) }), restartPolicy: "OnFailure" }).type).toBe(
      "nothing",
    );
  });
});

describe("a restore under way", () => {
  const underWay = record({
    restore: { checkpoint: "a2", image: imageOf("a2"), after: 1, startedTime: "2026-01-01T00:59:50Z" },
  });
  const during = (seen: ContainerStatus, more: Partial<RestoreInput> = {}) =>
    decide({ specImage: imageOf("a2"), record: underWay, status: seen, ...more });

  it("is settled by a run of that image", () => {
    expect(during(status(2, running, {}, imageOf("a2")))).toMatchObject({
      type: "settle",
      outcome: { type: "restored", checkpoint: "a2" },
      record: { run: 2, parent: "a2" },
    });
  });
  it("is not settled by the old container, nor by one more run that a kubelet starts from the old image", () => {
    expect(during(status(1, running)).type).toBe("nothing");
    expect(during(status(2, running), { caughtUp: false }).type).toBe("nothing");
  });
  it("decided while the kubelet was about to restart is not settled by the first run until it has outlived the grace period", () => {
    const unsure = { ...underWay, restore: { ...underWay.restore!, unsure: true } };
    const began = (time: string): State => ({ running: { startedAt: `2026-01-01T${time}Z` } }) as State;
    expect(during(status(2, began("00:59:58")), { record: unsure }).type).toBe("nothing");
    expect(during(status(2, began("00:59:30")), { record: unsure }).type).toBe("settle");
    expect(during(status(3, began("00:59:58")), { record: unsure }).type).toBe("settle");
    const waiting = status(0, { waiting: { reason: "CrashLoopBackOff" } }, { terminated: ended(1) });
    expect(decide({ status: waiting })).toMatchObject({ record: { restore: { after: 0, unsure: true } } });
  });
  it("whose container cannot be created goes to the next candidate after its attempts", () => {
    const waiting = status(1, { waiting: { reason: "CreateContainerError" } }, { terminated: ended(1) });
    expect(during(waiting).type).toBe("nothing");
    const old = { ...underWay, restore: { ...underWay.restore!, startedTime: "2026-01-01T00:58:00Z" } };
    const decision = during(waiting, { record: old });
    expect(swappedTo(decision)).toBe(imageOf("a1"));
    expect(decision).toMatchObject({ poisoned: { metadata: { name: "a2" } } });
  });
  it("whose image cannot be pulled goes back to the original image, but not at once", () => {
    const waiting = status(1, { waiting: { reason: "ImagePullBackOff" } }, { terminated: ended(1) });
    expect(during(waiting)).toMatchObject({ type: "blocked", error: { code: "ImagePullFailed" } });
    const old = { ...underWay, restore: { ...underWay.restore!, startedTime: "2026-01-01T00:50:00Z" } };
    expect(swappedTo(during(waiting, { record: old }))).toBe(ORIGINAL);
  });
});

describe("a restored container that crashes again", () => {
  const restored = record({ run: 2, parent: "a2" });
  const crash = (restartCount: number, seconds: number, given: ContainerRecord = restored, among = all) =>
    decide(
      {
        specImage: imageOf("a2"),
        record: given,
        status: status(restartCount, running, { terminated: ended(137, "Error", seconds) }, imageOf("a2")),
      },
      among,
    );

  it("before its next slot runs from the same one again", () => {
    expect(crash(3, 600)).toMatchObject({ type: "settle", record: { run: 3, parent: "a2", crashes: 0 } });
  });
  it("gets what was taken since", () => {
    const since = [...all, checkpoint("b1", { minute: 5, run: 2, parent: "a2" })];
    expect(swappedTo(crash(3, 600, restored, since))).toBe(imageOf("b1"));
  });
  it("at once is counted, and after maxAttempts the checkpoint is poisoned and the next one follows", () => {
    expect(crash(3, 1)).toMatchObject({ type: "settle", record: { crashes: 1 } });
    const decision = crash(3, 1, { ...restored, crashes: 2 });
    expect(swappedTo(decision)).toBe(imageOf("a1"));
    expect(decision).toMatchObject({ poisoned: { metadata: { name: "a2" } } });
  });
  it("after a good while is not counted", () => {
    expect(crash(3, 600, { ...restored, crashes: 2 })).toMatchObject({
      type: "settle",
      record: { crashes: 0 },
    });
  });
  it("goes back to its original image when no candidate is left", () => {
    const poisoned = [
      checkpoint("a1", { minute: 1, run: 0, poisoned: true }),
      checkpoint("a2", { minute: 2, run: 0, poisoned: true }),
    ];
    expect(swappedTo(crash(3, 1, restored, poisoned))).toBe(ORIGINAL);
  });
  it("after a step back from a poisoned one runs from that same older one again", () => {
    const among = [all[0]!, checkpoint("a2", { minute: 2, run: 0, poisoned: true })];
    const decision = decide(
      {
        specImage: imageOf("a1"),
        record: record({ run: 6, parent: "a1" }),
        status: status(7, running, { terminated: ended(137) }, imageOf("a1")),
      },
      among,
    );
    expect(decision).toMatchObject({ type: "settle", record: { parent: "a1" } });
  });
  it("keeps its base image through any number of generations", () => {
    const since = [...all, checkpoint("b1", { minute: 5, run: 2, parent: "a2" })];
    const decision = crash(3, 600, restored, since);
    expect(decision).toMatchObject({ record: { originalImage: ORIGINAL } });
    const lostRecord = decide(
      { specImage: imageOf("b1"), status: status(5, running, { terminated: ended(1) }, imageOf("b1")) },
      since,
    );
    expect(lostRecord).not.toMatchObject({ record: { originalImage: imageOf("b1") } });
  });
  it("that is protected no more goes back to its original image", () => {
    const decision = decide({
      specImage: imageOf("a2"),
      wanted: false,
      record: restored,
      status: status(3, running, { terminated: ended(1) }, imageOf("a2")),
    });
    expect(swappedTo(decision)).toBe(ORIGINAL);
  });
});

describe("an obstacle", () => {
  const crashed = status(1, running, { terminated: ended(1) });
  it("leaves the pod's image untouched and is tried again", () => {
    const obstacle = () => new KcrError("ImagePullFailed", "no route");
    expect(decide({ status: crashed, obstacle })).toMatchObject({
      type: "blocked",
      error: { code: "ImagePullFailed" },
    });
  });
  it("that no waiting removes ends the lost tree, and says so", () => {
    const obstacle = () => new KcrError("ImagePullPolicyNever", "Never");
    expect(decide({ status: crashed, obstacle })).toMatchObject({
      type: "settle",
      outcome: { type: "lost", error: { code: "ImagePullPolicyNever" } },
    });
  });
});

describe("an image that a person changes", () => {
  it("is theirs: a new tree begins", () => {
    const decision = decide({
      specImage: "registry/app:2",
      record: record({ run: 2, parent: "a2" }),
      status: status(3, running),
    });
    expect(decision).toMatchObject({ type: "settle", record: { originalImage: "registry/app:2", run: 3 } });
    expect(decision).not.toMatchObject({ record: { parent: "a2" } });
  });
});

describe("decisions", () => {
  const instant = fc
    .integer({ min: 0, max: 3600 })
    .map((s) => new Date(Date.UTC(2026, 0, 1) + s * 1000).toISOString());
  const terminated = fc.record({
    exitCode: fc.constantFrom(0, 1, 137),
    reason: fc.constantFrom("Error", "Completed", "OOMKilled"),
    startedAt: instant,
    finishedAt: instant,
  });
  const state = fc.oneof(
    instant.map((startedAt) => ({ running: { startedAt } })),
    terminated.map((t) => ({ terminated: t })),
    fc
      .constantFrom("CrashLoopBackOff", "ImagePullBackOff", "CreateContainerError", "ContainerCreating")
      .map((reason) => ({ waiting: { reason } })),
  );
  const images = [ORIGINAL, imageOf("a1"), imageOf("a2"), imageOf("gone"), "registry/app:2"];
  const records = fc.option(
    fc.record({
      originalImage: fc.constantFrom(ORIGINAL, "registry/app:2"),
      run: fc.nat(4),
      crashes: fc.nat(4),
      parent: fc.option(fc.constantFrom("a1", "a2", "gone"), { nil: undefined }),
      restore: fc.option(
        fc.record({
          checkpoint: fc.option(fc.constantFrom("a1", "a2", "gone"), { nil: undefined }),
          image: fc.constantFrom(...images),
          after: fc.nat(4),
          startedTime: instant,
        }),
        { nil: undefined },
      ),
    }),
    { nil: undefined },
  );

  it("come to rest: on one picture of the container nothing is written more than twice", () => {
    fc.assert(
      fc.property(
        fc.record({
          specImage: fc.constantFrom(...images),
          status: fc.record({
            restartCount: fc.nat(5),
            state,
            lastState: terminated.map((t) => ({ terminated: t })),
          }),
          record: records,
          wanted: fc.boolean(),
          fallback: fc.constantFrom("FreshStart" as const, "Fail" as const),
          restartPolicy: fc.constantFrom("Always" as const, "OnFailure" as const, "Never" as const),
          caughtUp: fc.boolean(),
        }),
        (given) => {
          let specImage: string = given.specImage;
          let record: ContainerRecord | undefined = given.record;
          let { caughtUp } = given;
          const seen = { ...status(0, running), ...given.status } as ContainerStatus;
          const among = all.map((c) => structuredClone(c));
          const written: string[] = [];
          for (let round = 0; round < 6; round++) {
            const decision = decide({ ...given, specImage, record, caughtUp, status: seen }, among);
            if (decision.type !== "settle" && decision.type !== "swap") return;
            written.push(JSON.stringify(decision));
            if (decision.type === "swap") {
              specImage = decision.image;
              caughtUp = false;
              decision.poisoned?.status?.conditions?.forEach((c) => {
                if (c.type === "Poisoned") c.status = "True";
              });
            }
            // As it comes back from the pod's annotation.
            record = containerRecord.parse(JSON.parse(JSON.stringify(decision.record)));
          }
          expect(written).toEqual("at most two writes");
        },
      ),
      { numRuns: 3000 },
    );
  });
});
