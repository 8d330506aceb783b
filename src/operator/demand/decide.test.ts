import { describe, expect, it } from "vitest";
import type { Checkpoint } from "../../api/checkpoint.ts";
import { KcrError } from "../../api/errors.ts";
import type { Facts } from "../../api/facts.ts";
import { RECORD_ANNOTATION, RESTORE_FROM_ANNOTATION } from "../../api/labels.ts";
import type { ContainerStatus, PodContainer } from "../../api/pod.ts";
import type { Protection } from "../../api/protection.ts";
import type { ContainerRecord } from "../../api/records.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import type { CheckpointRestore, RestoreSpec, RestoreStatus } from "../../api/restore.ts";
import { specHash } from "../../api/spec-hash.ts";
import type { Pod } from "../../kube/resources.ts";
import { type DemandWorld, decideDemand } from "./decide.ts";

const NOW = new Date("2026-01-01T01:00:00Z");
const ago = (seconds: number): string => new Date(NOW.getTime() - seconds * 1000).toISOString();
const D = `sha256:${"d".repeat(64)}`;
const E = `sha256:${"e".repeat(64)}`;
const IMAGE = "reg:5000/app:1";
const EQUAL = `reg:5000/app:1@${D}`;
const CONTAINER = { name: "app", image: IMAGE, command: ["run"] } as PodContainer;

const FACTS: Facts = {
  architecture: "amd64",
  pageSize: 4096,
  cpuFeatures: "avx avx2 sse2",
  xsave: { features: "0x7", size: 832, maxSize: 832 },
  kernel: "6.12.3-cloud",
  criu: "4.2.1",
  engine: "containerd",
  engineVersion: "2.3.7",
  runtime: "runc",
  cgroup: "v2",
};

const condition = (type: string, yes: boolean, reason = "x", message = "", seconds = 0) => ({
  type,
  status: yes ? ("True" as const) : ("False" as const),
  reason,
  message,
  lastTransitionTime: ago(seconds),
});

interface Taken {
  state?: "good" | "failed" | "pending" | "poisoned" | "deleted";
  containerID?: string;
  more?: Checkpoint["status"];
}
const checkpoint = (
  name: string,
  { state = "good", containerID = "c0", more = {} }: Taken = {},
): Checkpoint => ({
  metadata: { name, namespace: "shop", ...(state === "deleted" ? { deletionTimestamp: ago(1) } : {}) },
  spec: {
    checkpointData: "c.tar",
    checkpointTimestamp: ago(600),
    checkpointID: name,
    containerName: "app",
    nodeName: "worker",
  },
  status: {
    phase: state === "failed" ? "Failed" : state === "pending" ? "Processing" : "ImageBuilt",
    baseImage: IMAGE,
    baseImageDigest: `reg:5000/app@${D}`,
    specHash: specHash(CONTAINER, IMAGE),
    lineage: { podUID: "u", containerID, restartCount: 0 },
    environment: FACTS,
    conditions:
      state === "pending"
        ? []
        : [condition("Restorable", state !== "failed"), condition("Poisoned", state === "poisoned")],
    ...more,
  },
});

const running = (id: string, seconds = 600): ContainerStatus => ({
  name: "app",
  image: IMAGE,
  imageID: `reg:5000/app@${D}`,
  ready: true,
  restartCount: 0,
  containerID: `containerd://${id}`,
  state: { running: { startedAt: ago(seconds) as never } },
});
const waiting = (id: string, reason: string, exitCode = 137): ContainerStatus => ({
  ...running(id),
  containerID: id && `containerd://${id}`,
  imageID: id && `reg:5000/app@${D}`,
  state: { waiting: { reason } },
  lastState: id === "" ? {} : { terminated: { exitCode } },
});

interface Shape {
  runtimeClassName?: string;
  status?: ContainerStatus;
  container?: Partial<PodContainer>;
  restartPolicy?: string;
  phase?: string;
  annotations?: Record<string, string>;
  uid?: string;
  deleted?: boolean;
}
const podOf = (shape: Shape = {}): Pod =>
  ({
    metadata: {
      name: "web",
      namespace: "shop",
      uid: shape.uid ?? "u",
      annotations: shape.annotations,
      ...(shape.deleted ? { deletionTimestamp: ago(1) } : {}),
    },
    spec: {
      nodeName: "worker",
      restartPolicy: shape.restartPolicy ?? "Always",
      runtimeClassName: "runtimeClassName" in shape ? shape.runtimeClassName : "kcr",
      containers: [{ ...CONTAINER, ...shape.container }],
    },
    status: { phase: shape.phase ?? "Running", containerStatuses: [shape.status ?? running("c0")] },
  }) as unknown as Pod;
const recorded = (record: Partial<ContainerRecord>) => ({
  [RECORD_ANNOTATION]: JSON.stringify({
    app: { podUID: "u", originalImage: IMAGE, run: 0, containerID: "c0", crashes: 0, ...record },
  }),
});

const restoreOf = (status?: RestoreStatus, spec: Partial<RestoreSpec> = {}): CheckpointRestore => ({
  metadata: { name: "back", namespace: "shop", uid: "r", creationTimestamp: ago(20) },
  spec: { checkpointName: "a", podReference: { name: "web" }, ...spec },
  ...(status === undefined ? {} : { status }),
});
const request = (status: CheckpointRequest["status"], container = "app"): CheckpointRequest => ({
  metadata: { name: "back-saves-1", namespace: "shop" },
  spec: { podReference: { name: "web" }, containerName: container },
  status,
});

const decide = (restore: CheckpointRestore, more: Partial<DemandWorld> = {}, among = [checkpoint("a")]) =>
  decideDemand(restore, {
    now: NOW,
    pod: podOf(),
    named: (name) => among.find((c) => c.metadata.name === name),
    request: undefined,
    ahead: undefined,
    nodeFacts: FACTS,
    protection: new Map(),
    imageObstacle: () => undefined,
    ...more,
  });
const fails = (code: string) => ({ type: "fail", error: { code } });
const waits = (code: string) => ({ type: "wait", why: { code } });

describe("a restore that is asked for", () => {
  it("first has saved what a running container is", () => {
    expect(decide(restoreOf())).toEqual({
      type: "enter",
      phase: "SavingCurrent",
      status: {
        nodeName: "worker",
        podUID: "u",
        containerName: "app",
        containerID: "c0",
        originalImage: IMAGE,
        acceptedTime: NOW.toISOString(),
      },
    });
  });

  it.each<[string, Shape, Partial<RestoreSpec>, object]>([
    ["where it is to be discarded", {}, { discardCurrent: true }, { containerID: "c0", strategy: "Runtime" }],
    ["where nothing runs", { status: waiting("c0", "CrashLoopBackOff") }, {}, { containerID: "c0" }],
    [
      "where a container waits to begin with a state",
      {
        status: waiting("", "ContainerCreating"),
        annotations: { [RESTORE_FROM_ANNOTATION]: "a" },
        phase: "Pending",
      },
      {},
      { containerID: "", strategy: "Runtime", nodeName: "worker" },
    ],
    [
      "by image where the pod is of no class",
      { runtimeClassName: undefined },
      { discardCurrent: true },
      { strategy: "Image" },
    ],
  ])("goes on without saving %s", (_, shape, spec, status) => {
    expect(decide(restoreOf(undefined, spec), { pod: podOf(shape) })).toMatchObject({
      type: "enter",
      phase: "Restoring",
      status,
    });
  });

  it.each<[string, string, Partial<DemandWorld>, Checkpoint[]]>([
    ["a Checkpoint that is not there", "CheckpointNotFound", {}, []],
    ["a Checkpoint that is not good", "CheckpointNotGood", {}, [checkpoint("a", { state: "failed" })]],
    ["a Checkpoint that is being deleted", "CheckpointNotGood", {}, [checkpoint("a", { state: "deleted" })]],
    ["a pod that is not there", "PodNotFound", { pod: undefined }, [checkpoint("a")]],
    ["a pod that is being deleted", "PodNotRunning", { pod: podOf({ deleted: true }) }, [checkpoint("a")]],
    ["a pod that has ended", "PodNotRunning", { pod: podOf({ phase: "Succeeded" }) }, [checkpoint("a")]],
    [
      "a container that is not there",
      "ContainerNotFound",
      { pod: podOf({ container: { name: "other" } }) },
      [checkpoint("a")],
    ],
    [
      "a container that ends for good",
      "ContainerNotRunning",
      { pod: podOf({ restartPolicy: "Never", status: waiting("c0", "Completed", 1) }) },
      [checkpoint("a")],
    ],
    [
      "a container without an image",
      "ContainerNotRunning",
      { pod: podOf({ status: waiting("c0", "ImagePullBackOff") }) },
      [checkpoint("a")],
    ],
    [
      "a node that it does not fit",
      "NodeDiffers",
      { nodeFacts: { ...FACTS, cpuFeatures: "sse2" } },
      [checkpoint("a")],
    ],
    [
      "a node that it does not fit, by image",
      "NodeDiffers",
      { nodeFacts: { ...FACTS, criu: "4.1" }, pod: podOf({ runtimeClassName: undefined }) },
      [checkpoint("a")],
    ],
    [
      "a node that it does not fit, in a container that waits for it",
      "NodeDiffers",
      {
        nodeFacts: { ...FACTS, architecture: "arm64" },
        pod: podOf({
          status: waiting("", "ContainerCreating"),
          annotations: { [RESTORE_FROM_ANNOTATION]: "a" },
          phase: "Pending",
        }),
      },
      [checkpoint("a")],
    ],
    [
      "another image",
      "ImageDiffers",
      { pod: podOf({ status: { ...running("c0"), imageID: `reg:5000/app@${E}` } }) },
      [checkpoint("a")],
    ],
    [
      "another command",
      "SpecChanged",
      { pod: podOf({ container: { command: ["else"] } }) },
      [checkpoint("a")],
    ],
    [
      "a container whose image has no digest",
      "StrategyUnavailable",
      { pod: podOf({ status: { ...running("c0"), imageID: D } }) },
      [checkpoint("a")],
    ],
    [
      "a node that cannot do it by image",
      "StrategyUnavailable",
      {
        pod: podOf({ runtimeClassName: undefined }),
        imageObstacle: () => new KcrError("StrategyUnavailable", "containerd 2.4"),
      },
      [checkpoint("a")],
    ],
  ])("is refused for %s", (_, code, world, among) => {
    expect(decide(restoreOf(), world, among)).toMatchObject(fails(code));
  });

  it("names both images where they differ", () => {
    const other = checkpoint("a", {
      more: { baseImage: "reg:5000/app:0", baseImageDigest: `reg:5000/app@${E}` },
    });
    const decision = decide(restoreOf(), {}, [other]);
    const message = decision.type === "fail" ? decision.error.message : "";
    expect(message).toContain(`reg:5000/app:0 (${E})`);
    expect(message).toContain(`${IMAGE} (${D})`);
  });

  it("says what differs between checkpoint and node, and both values", () => {
    const decision = decide(restoreOf(), { nodeFacts: { ...FACTS, cpuFeatures: "avx", cgroup: "v1" } });
    expect(decision).toMatchObject({
      error: {
        message:
          "Checkpoint a does not fit node worker: CPU features (avx2 sse2 at the checkpoint, none of these on the node), cgroup version (v2 at the checkpoint, v1 on the node)",
      },
    });
  });

  it("goes on where it may not fit, and says so when it begins", () => {
    const older = { nodeFacts: { ...FACTS, kernel: "6.8.0", runtime: undefined } };
    expect(decide(restoreOf(undefined, { discardCurrent: true }), older)).toMatchObject({
      type: "enter",
      phase: "Restoring",
      doubts:
        "it may fail over kernel (6.12.3-cloud at the checkpoint, 6.8.0 on the node); not known of checkpoint or node: OCI runtime",
    });
    expect(decide(restoreOf(), { nodeFacts: undefined })).toMatchObject({ type: "enter" });
  });

  it.each<[string, Partial<DemandWorld>, Checkpoint]>([
    ["poisoned", {}, checkpoint("a", { state: "poisoned" })],
    ["of another pod", { pod: podOf({ uid: "u2" }) }, checkpoint("a")],
    [
      "of the same image by another name",
      { pod: podOf({ container: { image: `reg:5000/app@${D}` } }) },
      checkpoint("a"),
    ],
    [
      "of another command where the schedule allows it",
      {
        pod: podOf({ container: { command: ["else"] } }),
        protection: new Map([["app", { onSpecChange: "Restore" } as Protection]]),
      },
      checkpoint("a"),
    ],
    [
      "of the base of what was itself restored by image",
      {
        pod: podOf({
          runtimeClassName: undefined,
          container: { image: `reg:5000/kcr/shop/checkpoint-web-app@${E}` },
          status: { ...running("c0"), imageID: `reg:5000/kcr/shop/checkpoint-web-app@${E}` },
          annotations: recorded({ parent: "a" }),
        }),
      },
      checkpoint("a"),
    ],
  ])("takes a Checkpoint that is %s", (_, world, taken) => {
    expect(decide(restoreOf(), world, [taken])).toMatchObject({ type: "enter", phase: "SavingCurrent" });
  });

  it.each<[string, string, Partial<DemandWorld>, Checkpoint[]]>([
    ["a Checkpoint that is being made", "CheckpointNotReady", {}, [checkpoint("a", { state: "pending" })]],
    ["another restore of the pod", "RestoreInProgress", { ahead: "first" }, [checkpoint("a")]],
    [
      "a container that comes up",
      "ContainerNotRunning",
      { pod: podOf({ status: waiting("", "ContainerCreating") }) },
      [checkpoint("a")],
    ],
    [
      "an automatic restore that is under way",
      "RestoreInProgress",
      {
        pod: podOf({
          runtimeClassName: undefined,
          annotations: recorded({ restore: { image: "x", after: 0, replaces: "c0", startedTime: ago(1) } }),
        }),
      },
      [checkpoint("a")],
    ],
  ])("waits for %s, and not for ever", (_, code, world, among) => {
    expect(decide(restoreOf(), world, among)).toMatchObject(waits(code));
    const short = restoreOf(undefined, { timeoutSeconds: 15 });
    expect(decide(short, world, among)).toMatchObject(fails("DeadlineExceeded"));
  });

  it("fails where the records of the pod's runs are of a later operator's", () => {
    const annotations = recorded({ version: 99 } as object);
    expect(decide(restoreOf(), { pod: podOf({ annotations }) })).toMatchObject(fails("ProtocolUnknown"));
  });

  it("is left alone once it has ended, or while it is being deleted", () => {
    expect(decide(restoreOf({ phase: "Completed" })).type).toBe("nothing");
    expect(decide(restoreOf({ phase: "Failed" })).type).toBe("nothing");
    const restore = restoreOf();
    restore.metadata.deletionTimestamp = ago(1);
    expect(decide(restore).type).toBe("nothing");
  });
});

it("what differs in a container that was never created is left to its handler, which names it", () => {
  const shape = {
    status: waiting("", "ContainerCreating"),
    annotations: { [RESTORE_FROM_ANNOTATION]: "a" },
    container: { command: ["else"] },
  };
  expect(decide(restoreOf(), { pod: podOf(shape) })).toMatchObject({ phase: "Restoring" });
  const pulling = podOf({ ...shape, container: {}, status: waiting("", "ErrImagePull") });
  expect(decide(restoreOf(), { pod: pulling })).toMatchObject({ phase: "Restoring" });
  const image = podOf({ ...shape, container: { image: "reg:5000/app:2" } });
  expect(decide(restoreOf(), { pod: image })).toMatchObject(fails("ImageDiffers"));
});

const accepted: RestoreStatus = {
  acceptedTime: ago(10),
  nodeName: "worker",
  podUID: "u",
  containerName: "app",
  containerID: "c0",
  originalImage: IMAGE,
};

describe("while what the container is now is saved", () => {
  const saving = restoreOf({ ...accepted, phase: "SavingCurrent" });
  const completed = request({ phase: "Completed", checkpoint: { name: "saved" } });

  it("the request is made, however often that was tried", () => {
    expect(decide(saving)).toEqual({ type: "save" });
  });
  it("it is waited for until its Checkpoint is good", () => {
    expect(decide(saving, { request: request({ phase: "InProgress" }) }).type).toBe("wait");
    expect(decide(saving, { request: completed }).type).toBe("wait");
    const pushing = [checkpoint("a"), checkpoint("saved", { state: "pending" })];
    expect(decide(saving, { request: completed }, pushing).type).toBe("wait");
    expect(decide(saving, { request: completed }, [checkpoint("a"), checkpoint("saved")])).toMatchObject({
      type: "enter",
      phase: "Restoring",
      status: { savedCheckpoint: "saved", strategy: "Runtime", containerID: "c0" },
    });
  });
  it("the container is left alone when that fails", () => {
    const said = request({ phase: "Failed", reason: "CheckpointFailed", message: "no CRIU" });
    const decision = decide(saving, { request: said });
    expect(decision).toMatchObject(fails("SaveFailed"));
    expect(decision.type === "fail" && decision.error.message).toContain("CheckpointFailed: no CRIU");
    const bad = [checkpoint("a"), checkpoint("saved", { state: "failed" })];
    expect(decide(saving, { request: completed }, bad)).toMatchObject(fails("SaveFailed"));
    const foreign = request({ phase: "Completed", checkpoint: { name: "saved" } }, "other");
    expect(decide(saving, { request: foreign })).toMatchObject(fails("SaveFailed"));
  });
  it("a run that came after it is not lost", () => {
    const among = [checkpoint("a"), checkpoint("saved")];
    expect(
      decide(saving, { request: completed, pod: podOf({ status: running("c1") }) }, among),
    ).toMatchObject(fails("SaveFailed"));
    const crashed = podOf({ status: waiting("c0", "CrashLoopBackOff") });
    expect(decide(saving, { request: completed, pod: crashed }, among)).toMatchObject({ phase: "Restoring" });
  });
  it("another pod of the name is not taken for it", () => {
    expect(decide(saving, { pod: podOf({ uid: "u2" }) })).toMatchObject(fails("PodNotFound"));
  });
  it("the deadline counts from when it was accepted", () => {
    const late = restoreOf({ ...accepted, acceptedTime: ago(301), phase: "SavingCurrent" });
    const world = { request: request({ phase: "InProgress" }) };
    expect(decide(late, world)).toMatchObject(fails("DeadlineExceeded"));
  });
});

describe("by the runtime handler", () => {
  const armed = condition("Armed", true, "Planned", "", 5);
  const restoring = (conditions = [armed], more: RestoreStatus = {}) =>
    restoreOf({ ...accepted, phase: "Restoring", strategy: "Runtime", conditions, ...more });

  it("nothing is rewritten before the agent has armed it", () => {
    expect(decide(restoring([]))).toMatchObject(waits("RestoreInProgress"));
    const gone = condition("Armed", false, "CheckpointNotGood", "corrupt");
    expect(decide(restoring([gone]))).toMatchObject(fails("CheckpointNotGood"));
  });
  it("the container's image is then written otherwise, once", () => {
    expect(decide(restoring())).toEqual({ type: "rewrite", container: "app", image: EQUAL });
    const rewritten = podOf({ container: { image: EQUAL } });
    expect(decide(restoring(), { pod: rewritten })).toMatchObject(waits("RestoreInProgress"));
    const ended = podOf({
      restartPolicy: "OnFailure",
      container: { image: EQUAL },
      status: waiting("c0", "Completed", 0),
    });
    expect(decide(restoring(), { pod: ended }).type).toBe("wait");
  });
  it("a back-off is cut short in the same way", () => {
    const pod = podOf({ status: waiting("c0", "CrashLoopBackOff") });
    expect(decide(restoring(), { pod })).toMatchObject({ type: "rewrite", image: EQUAL });
  });
  it("a container that restarted by itself is not restarted again", () => {
    const since = podOf({ status: running("c1", 2) });
    expect(decide(restoring(), { pod: since }).type).toBe("wait");
    const before = podOf({ status: running("c1", 60) });
    expect(decide(restoring(), { pod: before }).type).toBe("rewrite");
    expect(decide(restoring(), { pod: podOf({ status: running("c0", 2) }) }).type).toBe("rewrite");
  });
  it("a container that waits to begin with a state is not restarted at all", () => {
    const pod = podOf({
      status: waiting("", "ContainerCreating"),
      annotations: { [RESTORE_FROM_ANNOTATION]: "a" },
      phase: "Pending",
    });
    expect(decide(restoring([armed], { containerID: "" }), { pod }).type).toBe("wait");
  });
  it("the agent's word ends it, even past the deadline", () => {
    const yes = condition("Restored", true, "Restored");
    expect(decide(restoring([armed, yes], { acceptedTime: ago(900) }))).toMatchObject({ type: "complete" });
    const no = condition("Restored", false, "MountMissing", "/data");
    const decision = decide(restoring([armed, no]));
    expect(decision.type === "fail" && decision.error.message).toBe("/data");
    expect(
      decide(restoring([armed], { acceptedTime: ago(900) }), { pod: podOf({ container: { image: EQUAL } }) }),
    ).toMatchObject(fails("DeadlineExceeded"));
  });
  it("a pod that went is no success", () => {
    expect(decide(restoring(), { pod: undefined })).toMatchObject(fails("PodNotFound"));
  });
});

describe("by image", () => {
  const restoring = (more: RestoreStatus = {}) =>
    restoreOf({ ...accepted, phase: "Restoring", strategy: "Image", ...more });
  const pod = (record?: Partial<ContainerRecord>) =>
    podOf({ runtimeClassName: undefined, annotations: record && recorded(record) });
  const restore = { checkpoint: "a", image: "x", after: 0, replaces: "c0", startedTime: ago(1) };

  it.each<[string, Partial<ContainerRecord> | undefined, object]>([
    ["nothing is known of the container", undefined, { type: "wait" }],
    ["the run is still the one that is replaced", {}, { type: "wait" }],
    ["the change is under way", { restore }, { type: "wait" }],
    ["the run came of it", { containerID: "c1", parent: "a" }, { type: "complete" }],
    ["the run came of another", { containerID: "c1", parent: "b" }, fails("RestoreFailed")],
    ["the run began afresh", { containerID: "c1" }, fails("RestoreFailed")],
  ])("when %s", (_, record, expected) => {
    expect(decide(restoring(), { pod: pod(record) })).toMatchObject(expected);
  });
  it("a Checkpoint that went bad before is no longer waited for", () => {
    const bad = [checkpoint("a", { state: "failed" })];
    expect(decide(restoring(), { pod: pod({}) }, bad)).toMatchObject(fails("CheckpointNotGood"));
    expect(decide(restoring(), { pod: pod({ restore }) }, bad).type).toBe("wait");
    expect(decide(restoring(), { pod: pod({ containerID: "c1", parent: "a" }) }, bad).type).toBe("complete");
  });
  it("what keeps it from it is in the message when its time is over", () => {
    const blocked = pod({});
    blocked.status!.conditions = [{ type: "kcr.io/Restored", status: "False", message: "no route" }];
    const decision = decide(restoring({ acceptedTime: ago(301) }), { pod: blocked });
    expect(decision).toMatchObject(fails("DeadlineExceeded"));
    expect(decision.type === "fail" && decision.error.message).toContain("no route");
  });
});
