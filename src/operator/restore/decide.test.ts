import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Checkpoint, Origin } from "../../api/checkpoint.ts";
import { KcrError } from "../../api/errors.ts";
import { lineageOf } from "../../api/lineage.ts";
import type { ContainerStatus } from "../../api/pod.ts";
import { type ContainerRecord, containerRecord } from "../../api/records.ts";
import { decideRestore, mayBeOf, type RestoreDecision, type RestoreInput } from "./decide.ts";

const NOW = new Date("2026-01-01T01:00:00Z");
const ago = (seconds: number): string => new Date(NOW.getTime() - seconds * 1000).toISOString();
const ORIGINAL = "registry/app:1";
const imageOf = (name: string) => `registry/kcr/shop/checkpoint-web-app@sha256:${name}`;

interface Made {
  minute: number;
  run: number;
  parent?: string;
  parentOrigin?: Origin;
  /** "pending": still being pushed. */
  state?: "good" | "failed" | "pending" | "poisoned";
  base?: string;
}
function checkpoint(name: string, made: Made): Checkpoint {
  const { minute, run, parent, parentOrigin, state = "good", base = ORIGINAL } = made;
  const condition = (type: string, yes: boolean) => ({
    type,
    status: yes ? ("True" as const) : ("False" as const),
    reason: "x",
    message: "",
    lastTransitionTime: "",
  });
  return {
    metadata: { name, namespace: "shop" },
    spec: {
      checkpointData: "c.tar",
      checkpointTimestamp: new Date(Date.UTC(2026, 0, 1, 0, minute)).toISOString(),
      checkpointID: name,
      containerName: "app",
      nodeName: "worker",
    },
    status: {
      phase: state === "pending" ? "Processing" : state === "failed" ? "Failed" : "ImageBuilt",
      baseImage: base,
      lineage: { podUID: "pod", containerID: `c${run}`, restartCount: run, parent, parentOrigin },
      conditions:
        state === "pending"
          ? []
          : [condition("Restorable", state !== "failed"), condition("Poisoned", state === "poisoned")],
    },
  };
}

type State = ContainerStatus["state"];
type Terminated = NonNullable<NonNullable<State>["terminated"]>;

/** How run `run` ended, after so many seconds. */
const end = (
  run: number,
  exitCode: number,
  { seconds = 600, reason = "Error", message = "" } = {},
): Terminated => ({
  containerID: `containerd://c${run}`,
  exitCode,
  reason,
  message,
  startedAt: "2026-01-01T00:00:00Z" as never,
  finishedAt: new Date(Date.UTC(2026, 0, 1, 0, 0, seconds)).toISOString() as never,
});
const status = (run: number, state: State, last?: Terminated): ContainerStatus => ({
  name: "app",
  // A restored container's status names its base image.
  image: ORIGINAL,
  imageID: ORIGINAL,
  ready: true,
  restartCount: run,
  containerID: `containerd://c${run}`,
  state,
  lastState: last === undefined ? {} : { terminated: last },
});
/** Run `run` is up since so many seconds; the one before ended like `last`. */
const up = (run: number, last?: Terminated, seconds = 2) =>
  status(run, { running: { startedAt: ago(seconds) as never } }, last);
/** Run `run` is over and the kubelet waits. */
const waiting = (run: number, reason: string, last: Terminated | undefined = end(run, 1), message = "") =>
  status(run, { waiting: { reason, message } }, last);

const all = [checkpoint("a1", { minute: 1, run: 0 }), checkpoint("a2", { minute: 2, run: 0 })];
const decide = (input: Partial<RestoreInput> & { status: ContainerStatus }, among: Checkpoint[] = all) =>
  decideRestore(
    {
      podUID: "pod",
      specImage: ORIGINAL,
      restartPolicy: "Always",
      record: record(),
      wanted: true,
      maxAttempts: 3,
      fallback: "FreshStart",
      stableMs: 30_000,
      kubeletMayRestart: false,
      graceMs: 10_000,
      caughtUp: true,
      lineage: (run) => lineageOf({ ...run, container: "app" }, among),
      named: (name) => among.find((c) => c.metadata.name === name),
      imageOf: (c) => imageOf(c.metadata.name),
      checkpointOf: (image) =>
        among.find((c) => imageOf(c.metadata.name) === image) ??
        (image.includes("/checkpoint-") ? "unknown" : undefined),
      obstacle: () => undefined,
      ...input,
    },
    NOW,
  );
const record = (more: Partial<ContainerRecord> = {}): ContainerRecord => ({
  podUID: "pod",
  originalImage: ORIGINAL,
  run: 0,
  containerID: `c${more.run ?? 0}`,
  crashes: 0,
  ...more,
});
const swappedTo = (decision: ReturnType<typeof decide>) =>
  decision.type === "swap" ? decision.image : decision.type;

describe("a container that is seen for the first time", () => {
  it("counts from what runs then, however often it had restarted: a healthy one is never thrown back", () => {
    const decision = decide({ record: undefined, status: up(3, end(2, 1), 86_400) });
    expect(decision).toMatchObject({
      type: "note",
      record: { run: 3, containerID: "c3", originalImage: ORIGINAL },
    });
  });
  it("in CrashLoopBackOff is restored from a checkpoint of the run that ended", () => {
    expect(swappedTo(decide({ record: undefined, status: waiting(0, "CrashLoopBackOff") }))).toBe(
      imageOf("a2"),
    );
    expect(decide({ record: undefined, status: waiting(2, "CrashLoopBackOff") }).type).toBe("nothing");
  });
  it("on a checkpoint image has that one's base image as its original", () => {
    const decision = decide({ record: undefined, specImage: imageOf("a1"), status: up(4) });
    expect(decision).toMatchObject({ type: "note", record: { originalImage: ORIGINAL, parent: "a1" } });
  });
});

describe("a container that failed", () => {
  it.each([
    ["running again", up(1, end(0, 137))],
    ["killed for memory and running again", up(1, end(0, 137, { reason: "OOMKilled" }))],
    ["waiting in CrashLoopBackOff", waiting(0, "CrashLoopBackOff")],
    ["restarted so often that its end is not known any more", up(4, end(3, 0))],
    ["forgotten by its node, which counts from 0 again", { ...up(0), containerID: "containerd://other" }],
  ])("%s, gets the newest good checkpoint as its image", (_, seen) => {
    const decision = decide({ status: seen });
    expect(swappedTo(decision)).toBe(imageOf("a2"));
    expect(decision).toMatchObject({
      record: {
        originalImage: ORIGINAL,
        containerID: "c0",
        restore: { checkpoint: "a2", after: seen.restartCount },
      },
    });
  });

  it("skips a newest checkpoint that failed for an older good one", () => {
    const failed = [...all, checkpoint("a3", { minute: 3, run: 0, state: "failed" })];
    expect(swappedTo(decide({ status: up(1, end(0, 1)) }, failed))).toBe(imageOf("a2"));
  });

  it("never gets a checkpoint taken of the empty container between crash and restore", () => {
    const between = [...all, checkpoint("empty", { minute: 9, run: 1 })];
    expect(swappedTo(decide({ status: up(1, end(0, 1)) }, between))).toBe(imageOf("a2"));
  });

  it("waits for a newer checkpoint that is still being pushed, and not for ever", () => {
    const pushing = [...all, checkpoint("a3", { minute: 3, run: 0, state: "pending" })];
    const blocked = { type: "blocked", error: { code: "CheckpointNotReady" } };
    expect(decide({ status: up(1, end(0, 1)) }, pushing)).toMatchObject(blocked);
    expect(swappedTo(decide({ status: up(1, end(0, 1), 90) }, pushing))).toBe(imageOf("a2"));
    const only = pushing.slice(2);
    expect(decide({ status: up(1, end(0, 1), 200) }, only)).toMatchObject(blocked);
    expect(decide({ status: up(1, end(0, 1), 400) }, only)).toMatchObject({ outcome: { type: "lost" } });
  });

  it("without any checkpoint starts afresh, and that is said once", () => {
    const decision = decide({ status: up(1, end(0, 1)) }, []);
    expect(decision).toMatchObject({
      type: "settle",
      record: { run: 1, containerID: "c1" },
      outcome: { type: "lost", error: { code: "NoCheckpoint" } },
    });
    expect(decide({ status: up(1, end(0, 1)), record: record({ run: 1 }) }, []).type).toBe("nothing");
  });

  it("with exit code 0 starts afresh", () => {
    const decision = decide({ status: up(1, end(0, 0)) });
    expect(decision).toMatchObject({ type: "settle", outcome: { type: "fresh" }, record: { run: 1 } });
  });

  it("with exit code 0 keeps its state where the kubelet may have ended it", () => {
    expect(swappedTo(decide({ status: up(1, end(0, 0)), kubeletMayRestart: true }))).toBe(imageOf("a2"));
  });

  it("while nobody looked, and ran on for long since, is not thrown back", () => {
    expect(decide({ status: up(1, end(0, 1), 3600) })).toMatchObject({
      type: "settle",
      record: { run: 1 },
      outcome: { type: "lost", error: { code: "RestoreTooLate" } },
    });
  });

  it("is not overtaken while the kubelet is about to restart it", () => {
    expect(decide({ status: status(0, { terminated: end(0, 1) }) }).type).toBe("nothing");
  });

  it("that will not be restarted is left alone", () => {
    expect(decide({ status: waiting(0, "Error"), restartPolicy: "Never" }).type).toBe("nothing");
    expect(decide({ status: waiting(0, "Completed", end(0, 0)), restartPolicy: "OnFailure" }).type).toBe(
      "nothing",
    );
  });

  it("never gets the checkpoint of another image", () => {
    const other = [checkpoint("b", { minute: 5, run: 0, base: "registry/app:0" })];
    expect(decide({ status: up(1, end(0, 1)) }, other)).toMatchObject({ outcome: { type: "lost" } });
  });
});

describe("a restore under way", () => {
  const restore = { checkpoint: "a2", image: imageOf("a2"), after: 1, replaces: "c1", startedTime: ago(10) };
  const underWay = (more: object = {}) => record({ restore: { ...restore, ...more } });
  const during = (seen: ContainerStatus, more: Partial<RestoreInput> = {}) =>
    decide({ specImage: imageOf("a2"), record: underWay(), status: seen, ...more });

  it("is settled by a run of that image", () => {
    expect(during(up(2, end(1, 143)))).toMatchObject({
      type: "settle",
      outcome: { type: "restored", checkpoint: "a2" },
      record: { run: 2, containerID: "c2", parent: "a2", parentOrigin: { containerID: "c0" } },
    });
  });
  it("is not settled by the old container, nor by one more run that a kubelet starts from the old image", () => {
    expect(during(up(1)).type).toBe("nothing");
    expect(during(up(2, end(1, 143)), { caughtUp: false }).type).toBe("nothing");
  });
  it("is settled also where the node began to count from 0 again", () => {
    const seen = { ...up(0), containerID: "containerd://other" };
    expect(during(seen)).toMatchObject({ type: "settle", record: { run: 0, containerID: "other" } });
  });
  it("decided in the kubelet's back-off is not settled by a first run that may be of the old image", () => {
    const unsure = { record: underWay({ unsure: true }) };
    expect(during(up(2, end(1, 1), 2), unsure).type).toBe("nothing");
    expect(during(up(2, end(1, 1), 30), unsure).type).toBe("settle");
    expect(during(up(3, end(2, 143), 2), unsure).type).toBe("settle");
    expect(decide({ status: waiting(0, "CrashLoopBackOff") })).toMatchObject({
      record: { restore: { unsure: true } },
    });
  });
  it("is sure again once a kubelet that knows the image is seen to wait still", () => {
    const seen = waiting(1, "CrashLoopBackOff");
    expect(during(seen, { record: underWay({ unsure: true }) })).toMatchObject({
      type: "note",
      record: { restore: { unsure: false } },
    });
    expect(during(seen, { record: underWay({ unsure: false }) }).type).toBe("nothing");
  });
  it("that dies at once is counted even if no run of it is ever seen", () => {
    const dead = (run: number) => during(waiting(run, "CrashLoopBackOff", end(run, 1, { seconds: 0 })));
    expect(dead(2).type).toBe("nothing");
    expect(dead(3).type).toBe("nothing");
    const third = dead(4);
    expect(swappedTo(third)).toBe(imageOf("a1"));
    expect(third).toMatchObject({ poisoned: { metadata: { name: "a2" } } });
    expect(during(up(3, end(2, 1, { seconds: 0 })))).toMatchObject({
      type: "settle",
      record: { crashes: 1 },
    });
  });

  it("whose container cannot be created is tried for a while, then passed over, not poisoned", () => {
    const seen = waiting(1, "CreateContainerError");
    expect(during(seen)).toMatchObject({
      type: "note",
      record: { restore: { failingSince: NOW.toISOString() } },
    });
    expect(during(seen, { record: underWay({ failingSince: ago(10) }) }).type).toBe("nothing");
    const decision = during(seen, { record: underWay({ failingSince: ago(60) }) });
    expect(swappedTo(decision)).toBe(imageOf("a1"));
    expect(decision).toMatchObject({ poisoned: undefined, record: { passedOver: ["a2"] } });
  });
  it("that the pod's own configuration stops is nobody's fault", () => {
    expect(
      during(waiting(1, "CreateContainerConfigError"), { record: underWay({ failingSince: ago(999) }) }).type,
    ).toBe("nothing");
  });
  it("that the runtime takes for an ordinary image goes back to the original, and blames no checkpoint", () => {
    const said = 'exec: "/bin/sh": stat /bin/sh: no such file or directory';
    const created = waiting(1, "CreateContainerError", end(1, 1), said);
    const started = waiting(2, "CrashLoopBackOff", end(2, 128, { reason: "StartError", message: said }));
    const unstarted = waiting(2, "RunContainerError", end(2, 128, { reason: "StartError" }), said);
    for (const decision of [
      during(created, { record: underWay({ failingSince: ago(11) }) }),
      during(unstarted, { record: underWay({ failingSince: ago(1) }) }),
      during(started),
    ]) {
      expect(swappedTo(decision)).toBe(ORIGINAL);
      expect(decision).toMatchObject({ why: { code: "StrategyUnavailable" } });
      expect(decision).not.toHaveProperty("poisoned");
    }
  });
  it("is not blamed for the old image's container that could not be started", () => {
    const said = 'exec: "/pod/sh": stat /pod/sh: no such file or directory';
    const failing = { record: underWay({ failingSince: ago(5) }) };
    const unsure = { record: underWay({ failingSince: ago(5), unsure: true }) };
    const old = waiting(1, "RunContainerError", end(1, 128, { reason: "StartError" }), said);
    const oneMore = waiting(2, "RunContainerError", end(2, 128, { reason: "StartError" }), said);
    const created = waiting(1, "CreateContainerError", end(0, 1), said);
    for (const decision of [during(old, failing), during(oneMore, unsure), during(created, failing)]) {
      expect(decision.type).toBe("nothing");
    }
  });
  it("whose container cannot be created when its image could be pulled at last is tried for as long as any", () => {
    const pulling = underWay({ failing: "Pull", failingSince: ago(60) });
    const decision = during(waiting(1, "CreateContainerError"), { record: pulling });
    expect(decision).toMatchObject({
      type: "note",
      record: { restore: { failing: "Create", failingSince: NOW.toISOString() } },
    });
    const creating = underWay({ failing: "Create", failingSince: ago(60) });
    expect(during(waiting(1, "ErrImagePull"), { record: creating })).toMatchObject({
      type: "note",
      record: { restore: { failing: "Pull", failingSince: NOW.toISOString() } },
    });
  });

  it("whose image cannot be pulled is waited for, then passed over for the next good one", () => {
    const seen = waiting(1, "ImagePullBackOff");
    const since = (seconds: number) => ({ record: underWay({ failingSince: ago(seconds) }) });
    expect(during(seen, since(10))).toMatchObject({ type: "blocked", error: { code: "ImagePullFailed" } });
    expect(swappedTo(during(seen, since(600)))).toBe(imageOf("a1"));
    expect(swappedTo(decide({ specImage: imageOf("a2"), status: seen, ...since(600) }, all.slice(1)))).toBe(
      ORIGINAL,
    );
  });
});

describe("a restored container that crashes again", () => {
  const restored = record({ run: 2, parent: "a2" });
  const crash = (run: number, seconds: number, given: ContainerRecord = restored, among = all) =>
    decide(
      { specImage: imageOf("a2"), record: given, status: up(run, end(run - 1, 137, { seconds })) },
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
    const poisoned = all.map((c) => checkpoint(c.metadata.name, { minute: 1, run: 0, state: "poisoned" }));
    expect(swappedTo(crash(3, 1, restored, poisoned))).toBe(ORIGINAL);
  });
  it("after a step back from a poisoned one runs from that same older one again", () => {
    const among = [all[0]!, checkpoint("a2", { minute: 2, run: 0, state: "poisoned" })];
    const decision = decide(
      { specImage: imageOf("a1"), record: record({ run: 6, parent: "a1" }), status: up(7, end(6, 137)) },
      among,
    );
    expect(decision).toMatchObject({ type: "settle", record: { parent: "a1" } });
  });
  it("whose checkpoint was deleted since goes on to an older one of it", () => {
    const parentOrigin = { containerID: "c0", takenTime: all[1]!.spec.checkpointTimestamp };
    expect(swappedTo(crash(3, 600, { ...restored, parentOrigin }, all.slice(0, 1)))).toBe(imageOf("a1"));
  });
  it("keeps its base image through any number of generations", () => {
    const since = [...all, checkpoint("b1", { minute: 5, run: 2, parent: "a2" })];
    expect(crash(3, 600, restored, since)).toMatchObject({ record: { originalImage: ORIGINAL } });
  });
  it("keeps its original image also when checkpoint images are looked for elsewhere now", () => {
    const elsewhere = "registry/old/shop/web@sha256:a2";
    const kept = record({ run: 2, parent: "a2", parentImage: elsewhere });
    const decision = decide({ specImage: elsewhere, record: kept, status: up(3, end(2, 137)) });
    expect(decision).toMatchObject({
      type: "swap",
      image: imageOf("a2"),
      record: { originalImage: ORIGINAL },
    });
    expect(decide({ specImage: elsewhere, record: kept, status: up(2) }).type).toBe("nothing");
  });
  it("that is protected no more goes back to its original image", () => {
    const decision = decide({
      specImage: imageOf("a2"),
      wanted: false,
      record: restored,
      status: up(3, end(2, 1)),
    });
    expect(swappedTo(decision)).toBe(ORIGINAL);
  });
});

describe("a Checkpoint that a person asks for", () => {
  const [a1, a2] = all as [Checkpoint, Checkpoint];
  const asked = { checkpoint: a1, replaces: "c0" };
  const ask = (more: Partial<RestoreInput> = {}, among = all) =>
    decide({ asked, status: up(0, undefined, 600), ...more }, among);

  it("becomes the image of a healthy container, which nobody need protect", () => {
    for (const wanted of [true, false]) {
      expect(ask({ wanted })).toMatchObject({
        type: "swap",
        image: imageOf("a1"),
        to: { metadata: { name: "a1" } },
        asked: true,
        record: { originalImage: ORIGINAL, restore: { checkpoint: "a1", after: 0, replaces: "c0" } },
      });
    }
  });
  it("is restored although it is poisoned, of another pod and of an image by another name", () => {
    const foreign = checkpoint("f", { minute: 1, run: 0, state: "poisoned", base: "registry/app@sha256:1" });
    foreign.status!.lineage!.podUID = "other";
    const decision = ask({ asked: { checkpoint: foreign, replaces: "c0" } }, [...all, foreign]);
    expect(swappedTo(decision)).toBe(imageOf("f"));
    const { record: begun } = decision as Extract<RestoreDecision, { type: "swap" }>;
    const settled = decide(
      {
        asked: { checkpoint: foreign, replaces: "c0" },
        specImage: imageOf("f"),
        record: begun,
        status: up(1),
      },
      [...all, foreign],
    );
    expect(settled).toMatchObject({
      type: "settle",
      outcome: { type: "restored", checkpoint: "f" },
      record: { parent: "f", parentOrigin: { containerID: "c0" }, originalImage: ORIGINAL },
    });
  });
  it("is the parent afterwards: a later crash goes back to it, not forward to what was saved before", () => {
    const saved = checkpoint("saved", { minute: 9, run: 0 });
    const begun = ask({}, [a1, a2, saved]) as Extract<RestoreDecision, { type: "swap" }>;
    const now = { specImage: imageOf("a1"), asked };
    const settled = decide({ ...now, record: begun.record, status: up(1) }, [a1, a2, saved]);
    expect(settled).toMatchObject({ type: "settle", record: { parent: "a1", containerID: "c1" } });
    const { record: kept } = settled as Extract<RestoreDecision, { type: "settle" }>;
    expect(decide({ ...now, record: kept, status: up(1) }, [a1, a2, saved]).type).toBe("nothing");
    expect(decide({ ...now, record: kept, status: up(2, end(1, 137)) }, [a1, a2, saved])).toMatchObject({
      type: "settle",
      outcome: { type: "restored", checkpoint: "a1" },
    });
  });
  it("is asked for again while its image stands already: the text differs, the image does not", () => {
    const digest = `sha256:${"d".repeat(64)}`;
    const plain = `registry/kcr/shop/checkpoint-web-app@${digest}`;
    const tagged = `registry/kcr/shop/checkpoint-web-app:restored@${digest}`;
    const places = {
      imageOf: () => plain,
      checkpointOf: (image: string) => (image.endsWith(digest) ? a1 : undefined),
      record: record({ run: 1, parent: "a1", crashes: 2 }),
      asked: { checkpoint: a1, replaces: "c1" },
      status: up(1, undefined, 600),
    };
    const again = ask({ ...places, specImage: plain });
    expect(again).toMatchObject({ type: "swap", image: tagged, record: { crashes: 0 } });
    expect(ask({ ...places, specImage: tagged })).toMatchObject({ type: "swap", image: plain });
    const { record: begun } = again as Extract<RestoreDecision, { type: "swap" }>;
    const settled = ask({ ...places, specImage: tagged, record: begun, status: up(2) });
    expect(settled).toMatchObject({ type: "settle", record: { parent: "a1", parentImage: tagged } });
    const { record: kept } = settled as Extract<RestoreDecision, { type: "settle" }>;
    const crashed = { ...places, specImage: tagged, record: kept, status: up(3, end(2, 137)) };
    expect(ask(crashed, [a1])).toMatchObject({ type: "settle", record: { parentImage: tagged } });
  });
  it("that cannot be pulled gives way to what was saved before it", () => {
    const saved = checkpoint("saved", { minute: 9, run: 0 });
    const begun = ask({}, [a1, a2, saved]) as Extract<RestoreDecision, { type: "swap" }>;
    const { restore } = begun.record;
    const decision = decide(
      {
        asked,
        specImage: imageOf("a1"),
        record: { ...begun.record, restore: { ...restore!, failingSince: ago(130) } },
        status: waiting(0, "ImagePullBackOff", end(0, 137)),
        wanted: false,
      },
      [a1, a2, saved],
    );
    expect(swappedTo(decision)).toBe(imageOf("saved"));
  });
  it("is not for a run that came since, nor while the node cannot do it", () => {
    expect(ask({ record: record({ run: 1 }), status: up(1, undefined, 600) }).type).toBe("nothing");
    const obstacle = () => new KcrError("StrategyUnavailable", "no");
    expect(ask({ obstacle })).toMatchObject({ type: "blocked", error: { code: "StrategyUnavailable" } });
    expect(ask({ imageOf: () => undefined }).type).toBe("nothing");
    expect(ask({ status: status(0, { terminated: end(0, 1) }) }).type).toBe("nothing");
  });
  it("takes the place of an automatic restore that is not decided yet", () => {
    expect(swappedTo(ask({ status: up(1, end(0, 137)) }))).toBe(imageOf("a1"));
    expect(swappedTo(ask({ status: waiting(0, "CrashLoopBackOff", end(0, 137)) }))).toBe(imageOf("a1"));
  });
});

describe("an obstacle", () => {
  const crashed = up(1, end(0, 1));
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
  const changed = { specImage: "registry/app:2" };
  it("is theirs: a new tree begins with its first run, and the old state does not come back", () => {
    const noted = decide({ ...changed, status: up(0, undefined, 600) });
    expect(noted).toMatchObject({
      type: "note",
      record: { originalImage: "registry/app:2", containerID: "c0" },
    });
    const next = noted.type === "note" ? noted.record : undefined;
    expect(
      decide({ ...changed, record: next, status: waiting(0, "CrashLoopBackOff", end(0, 143)) }).type,
    ).toBe("nothing");
    expect(decide({ ...changed, record: next, status: up(1, end(0, 143)) })).toMatchObject({
      type: "settle",
      outcome: { type: "fresh" },
      record: { originalImage: "registry/app:2", run: 1, containerID: "c1" },
    });
  });
  it("that runs already when it is seen is settled once no further run can be expected", () => {
    const noted = record({
      originalImage: "registry/app:2",
      run: 3,
      restore: { image: "registry/app:2", after: 3, replaces: "c3", startedTime: ago(60) },
    });
    expect(decide({ ...changed, record: noted, status: up(3, end(2, 143), 90) }).type).toBe("settle");
  });
});

describe("decisions", () => {
  const instant = fc.integer({ min: 0, max: 7200 }).map((s) => ago(s - 3600));
  const ids = fc.constantFrom("c0", "c1", "c2", "c3", "");
  const terminated = fc.record({
    containerID: ids.map((id) => `containerd://${id}`),
    exitCode: fc.constantFrom(0, 1, 128, 137),
    reason: fc.constantFrom("Error", "Completed", "OOMKilled", "StartError"),
    message: fc.constantFrom("", "no such file or directory"),
    startedAt: instant,
    finishedAt: instant,
  });
  const reasons = ["CrashLoopBackOff", "ImagePullBackOff", "CreateContainerError", "ContainerCreating"];
  const state = fc.oneof(
    instant.map((startedAt) => ({ running: { startedAt } })),
    terminated.map((t) => ({ terminated: t })),
    fc.constantFrom(...reasons).map((reason) => ({ waiting: { reason } })),
  );
  const images = [ORIGINAL, imageOf("a1"), imageOf("a2"), imageOf("gone"), "registry/app:2"];
  const maybe = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined });
  const names = fc.constantFrom("a1", "a2", "gone");
  const records = maybe(
    fc.record({
      podUID: fc.constant("pod"),
      originalImage: fc.constantFrom(ORIGINAL, "registry/app:2"),
      run: fc.nat(4),
      containerID: ids,
      crashes: fc.nat(4),
      parent: maybe(names),
      passedOver: maybe(fc.array(names, { maxLength: 3 })),
      restore: maybe(
        fc.record({
          checkpoint: maybe(names),
          image: fc.constantFrom(...images),
          after: fc.nat(4),
          replaces: ids,
          startedTime: instant,
          failingSince: maybe(instant),
          unsure: maybe(fc.boolean()),
        }),
      ),
    }),
  );
  const pictures = fc.record({
    specImage: fc.constantFrom(...images),
    seen: fc.record({
      restartCount: fc.nat(5),
      containerID: ids.map((id) => `containerd://${id}`),
      state,
      lastState: maybe(terminated).map((t) => ({ terminated: t })),
    }),
    given: records,
    wanted: fc.boolean(),
    kubeletMayRestart: fc.boolean(),
    fallback: fc.constantFrom("FreshStart" as const, "Fail" as const),
    restartPolicy: fc.constantFrom("Always" as const, "OnFailure" as const, "Never" as const),
    caughtUp: fc.boolean(),
    states: fc.array(
      fc.constantFrom("good" as const, "failed" as const, "pending" as const, "poisoned" as const),
      {
        minLength: 2,
        maxLength: 2,
      },
    ),
  });

  it("come to rest: on one picture of the container hardly anything is written", () => {
    fc.assert(
      fc.property(pictures, ({ given, seen, states, ...picture }) => {
        let { specImage, caughtUp }: { specImage: string; caughtUp: boolean } = picture;
        let kept: ContainerRecord | undefined = given;
        const now = { ...status(0, {}), ...seen } as unknown as ContainerStatus;
        const among = [1, 2].map((n) => checkpoint(`a${n}`, { minute: n, run: 0, state: states[n - 1] }));
        const written: string[] = [];
        for (let round = 0; round < 6; round++) {
          const decision = decide({ ...picture, specImage, record: kept, caughtUp, status: now }, among);
          if (decision.type === "nothing" || decision.type === "blocked") return;
          written.push(JSON.stringify(decision));
          if (decision.type === "swap") {
            if (decision.to !== undefined) expect(among.filter((c) => c === decision.to)).toHaveLength(1);
            specImage = decision.image;
            caughtUp = false;
            decision.poisoned?.status?.conditions?.forEach((c) => {
              if (c.type === "Poisoned") c.status = "True";
            });
          }
          // As it comes back from the pod's annotation.
          kept = containerRecord.parse(JSON.parse(JSON.stringify(decision.record)));
        }
        expect(written).toEqual("at most five writes");
      }),
      { numRuns: 3000 },
    );
  });

  it("give a container only a good, unpoisoned checkpoint of its own image", () => {
    fc.assert(
      fc.property(pictures, ({ given, seen, states, ...picture }) => {
        const now = { ...status(0, {}), ...seen } as unknown as ContainerStatus;
        const among = [1, 2].map((n) => checkpoint(`a${n}`, { minute: n, run: 0, state: states[n - 1] }));
        const decision = decide({ ...picture, record: given, status: now }, among);
        if (decision.type !== "swap" || decision.to === undefined) return;
        const state = states[Number(decision.to.metadata.name.slice(1)) - 1];
        expect(state).toBe("good");
        // What it was restored from once before, or was about to be, had its image under another name.
        const before: unknown[] = [given?.parent, given?.restore?.checkpoint];
        if (!before.includes(decision.to.metadata.name)) {
          expect(decision.record.originalImage).toBe(ORIGINAL);
        }
        expect(decision.image).toBe(imageOf(decision.to.metadata.name));
      }),
      { numRuns: 3000 },
    );
  });
});

describe("a Checkpoint that says it is of a pod", () => {
  it("is believed of its own namespace and node alone", () => {
    const made = checkpoint("a", { minute: 1, run: 0 });
    expect(mayBeOf(made, { namespace: "shop", nodeName: "worker" })).toBe(true);
    expect(mayBeOf(made, { namespace: "another", nodeName: "worker" })).toBe(false);
    expect(mayBeOf(made, { namespace: "shop", nodeName: "another" })).toBe(false);
  });
});
