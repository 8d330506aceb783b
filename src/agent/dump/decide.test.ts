import { describe, expect, it } from "vitest";
import { KcrError } from "../../api/errors.ts";
import { CRIU_OPTIONS_ANNOTATION, RECORD_ANNOTATION } from "../../api/labels.ts";
import type { CheckpointRequest, RequestStatus } from "../../api/request.ts";
import type { Pod } from "../../kube/resources.ts";
import { formatCriuOptions } from "../../store/criu-options.ts";
import { type Dumpable, deadlineOf, decideDump, judgePod, optionsIgnored, optionsInUse } from "./decide.ts";

const accepted = new Date("2026-01-01T12:00:00Z");
const inTime = new Date("2026-01-01T12:01:00Z");
const tooLate = new Date("2026-01-01T12:05:00Z");
const source = {
  lineage: { podUID: "uid-1", containerID: "abc", restartCount: 0 },
  defaultContainer: "app",
  repository: "kcr/shop/checkpoint-cache-app",
};
const begun = { startTime: "2026-01-01T12:00:01Z", source };

const request = (status: RequestStatus = {}, metadata = {}): CheckpointRequest => ({
  metadata: { name: "r", namespace: "shop", uid: "request-1", ...metadata },
  spec: { podReference: { name: "cache-0" } },
  status: {
    phase: "Pending",
    nodeName: "node-a",
    podUID: "uid-1",
    containerName: "app",
    acceptedTime: accepted.toISOString(),
    ...status,
  },
});

describe("decideDump", () => {
  it.each<[string, RequestStatus, object, Date, string]>([
    ["a stamped request is begun", {}, {}, inTime, "begin"],
    ["another node's request is left alone", { nodeName: "node-b" }, {}, inTime, "nothing"],
    ["a request that is being deleted is left alone", {}, { deletionTimestamp: "2026" }, inTime, "nothing"],
    ["a request without a pod's UID is not stamped", { podUID: undefined }, {}, inTime, "nothing"],
    ["a completed request is left alone", { phase: "Completed", ...begun }, {}, inTime, "nothing"],
    ["a failed request is left alone", { phase: "Failed", reason: "PodNotFound" }, {}, inTime, "nothing"],
    ["one left InProgress is taken up again", { phase: "InProgress", ...begun }, {}, inTime, "resume"],
    ["also after its deadline", { phase: "InProgress", ...begun }, {}, tooLate, "resume"],
    ["one that says InProgress but not of what is begun", { phase: "InProgress" }, {}, inTime, "begin"],
    ["a request not begun by its deadline fails", {}, {}, tooLate, "fail"],
    [
      "one given up at its deadline may still get its archive",
      { phase: "Failed", reason: "DeadlineExceeded", ...begun },
      {},
      tooLate,
      "late",
    ],
    [
      "but only one",
      { phase: "Failed", reason: "DeadlineExceeded", checkpoint: { name: "c" }, ...begun },
      {},
      tooLate,
      "nothing",
    ],
    [
      "one given up before it was begun has none",
      { phase: "Failed", reason: "DeadlineExceeded" },
      {},
      tooLate,
      "nothing",
    ],
  ])("%s", (_, status, metadata, now, type) => {
    expect(decideDump(request(status, metadata), "node-a", now).type).toBe(type);
  });

  it("refuses a pod of another namespace", () => {
    const foreign = request();
    foreign.spec.podReference.namespace = "bank";
    expect(decideDump(foreign, "node-a", inTime)).toMatchObject({
      type: "fail",
      error: { code: "PodInOtherNamespace" },
    });
  });

  it("reads timeoutSeconds", () => {
    const short = request();
    short.spec.timeoutSeconds = 5;
    expect(deadlineOf(short)).toEqual(new Date("2026-01-01T12:00:05Z"));
    expect(deadlineOf(request())).toEqual(tooLate);
  });
});

describe("a dump that was given up", () => {
  it("is looked for while it may still end, and not for ever", () => {
    const source = {
      lineage: { podUID: "u", containerID: "c", restartCount: 0 },
      defaultContainer: "app",
      repository: "r",
    };
    const failed = (completionTime: string) =>
      decideDump(
        {
          metadata: { name: "r", namespace: "shop" },
          spec: { podReference: { name: "p" } },
          status: {
            nodeName: "n",
            phase: "Failed",
            reason: "DeadlineExceeded",
            startTime: "2026-01-01T11:55:00Z",
            completionTime,
            source,
          },
        },
        "n",
        new Date("2026-01-01T12:30:00Z"),
      ).type;
    expect(failed("2026-01-01T12:00:00Z")).toBe("late");
    expect(failed("2026-01-01T11:00:00Z")).toBe("nothing");
  });
});

const pod = (changes: { metadata?: object; status?: object; container?: object } = {}): Pod => ({
  metadata: { name: "cache-0", namespace: "shop", uid: "uid-1", ...changes.metadata },
  spec: { containers: [{ name: "app", image: "redis:8" }] },
  status: {
    phase: "Running",
    containerStatuses: [
      {
        name: "app",
        image: "redis:8",
        imageID: "redis@sha256:00",
        ready: true,
        restartCount: 0,
        containerID: "containerd://abc",
        state: { running: {} },
        ...changes.container,
      },
    ],
    ...changes.status,
  },
});

const record = (fields: object) => ({
  annotations: {
    [RECORD_ANNOTATION]: JSON.stringify({
      app: { podUID: "uid-1", originalImage: "redis:8", run: 0, containerID: "abc", ...fields },
    }),
  },
});

describe("judgePod", () => {
  it.each<[string, Pod | undefined, string]>([
    ["no pod", undefined, "PodNotFound"],
    ["another pod of the same name", pod({ metadata: { uid: "uid-2" } }), "PodNotFound"],
    ["a pod that is being deleted", pod({ metadata: { deletionTimestamp: "2026" } }), "PodNotRunning"],
    ["a pending pod", pod({ status: { phase: "Pending" } }), "PodNotRunning"],
    [
      "a container that ended",
      pod({ container: { state: { terminated: { exitCode: 1 } } } }),
      "ContainerNotRunning",
    ],
    ["a container that waits", pod({ container: { state: { waiting: {} } } }), "ContainerNotRunning"],
    [
      "an empty container just restarted after a crash",
      pod({ metadata: record({ containerID: "before" }), container: { restartCount: 1 } }),
      "RestoreInProgress",
    ],
    [
      "a container whose restore has begun",
      pod({ metadata: record({ restore: { image: "i", after: 0, replaces: "abc", startedTime: "t" } }) }),
      "RestoreInProgress",
    ],
  ])("does not dump: %s", (_, given, code) => {
    const judged = judgePod(request(), given);
    expect(judged).toBeInstanceOf(KcrError);
    expect(judged).toMatchObject({ code });
  });

  it("does not dump a run of which a later version of operator or handler keeps what is known", () => {
    const later = pod({ metadata: record({ version: 99 }) });
    expect(judgePod(request(), later)).toMatchObject({ code: "ProtocolUnknown" });
    const error = new KcrError("ProtocolUnknown", "why");
    expect(judgePod(request(), pod(), error)).toBe(error);
  });

  it("does not dump a container that the pod does not have", () => {
    expect(judgePod(request({ containerName: "nope" }), pod())).toMatchObject({
      code: "ContainerNotFound",
    });
  });

  it("dumps the run that the operator has decided about", () => {
    const restored = pod({ metadata: record({ run: 2, parent: "c-1" }), container: { restartCount: 2 } });
    expect(judgePod(request(), restored)).toMatchObject({
      status: { containerID: "containerd://abc" },
    });
    expect(judgePod(request(), pod())).toMatchObject({ container: { name: "app" } });
    const unprotected = pod({ container: { restartCount: 7 } });
    expect(judgePod(request(), unprotected)).toMatchObject({ container: { name: "app" } });
  });

  it("of a pod of class kcr dumps the run that its handler knows as the newest", () => {
    const kcr = pod({ metadata: record({ containerID: "another" }), container: { restartCount: 1 } });
    kcr.spec!.runtimeClassName = "kcr";
    const of = (id: string) => judgePod(request(), kcr, { id, passedOver: [] });
    expect(of("abc")).toMatchObject({ run: { id: "abc" } });
    expect(of("restoring")).toMatchObject({ code: "RestoreInProgress" });
    expect(judgePod(request(), kcr)).toMatchObject({ container: { name: "app" } });
  });
});

describe("options of CRIU's that a pod asks for", () => {
  const asking = (text: string, runtimeClassName?: string): Pod => {
    const given = pod({ metadata: { annotations: { [CRIU_OPTIONS_ANNOTATION]: text } } });
    given.spec!.runtimeClassName = runtimeClassName;
    return given;
  };
  const judged = (text: string, runtimeClassName?: string): Dumpable => {
    const dumpable = judgePod(request(), asking(text, runtimeClassName));
    if (dumpable instanceof KcrError) throw dumpable;
    return dumpable;
  };

  it("are refused before anything is dumped, by the option's name", () => {
    expect(judgePod(request(), asking("file-locks shell-job"))).toMatchObject({
      code: "CriuOptionsInvalid",
      message: expect.stringMatching(
        /kcr.io\/criu-options of pod cache-0: "shell-job" is not allowed; allowed are/,
      ),
    });
  });

  it.each<[string, "kubelet" | "runc", string | undefined, string, string | undefined]>([
    ["nothing", "kubelet", undefined, "", undefined],
    ["file-locks", "kubelet", "kcr", "file-locks", undefined],
    ["file-locks", "runc", "kcr", "file-locks", undefined],
    ["ghost-limit=5", "runc", undefined, "ghost-limit=5", undefined],
    [
      "file-locks ghost-limit=5",
      "runc",
      undefined,
      "file-locks ghost-limit=5",
      "is dumped with file-locks, and",
    ],
    ["file-locks", "kubelet", undefined, "", "asks for file-locks, which the kubelet"],
  ])("%s, engine %s, class %s: dumped with %j", (text, engine, runtimeClass, used, ignored) => {
    const dumpable = judged(text === "nothing" ? "" : text, runtimeClass);
    expect(formatCriuOptions(optionsInUse(dumpable, { engine }))).toBe(used);
    const error = optionsIgnored(dumpable, { engine });
    if (ignored === undefined) expect(error).toBeUndefined();
    else {
      const message = expect.stringContaining(ignored);
      expect(error).toMatchObject({ code: "CriuOptionsIgnored", message });
    }
  });
});
