import { describe, expect, it } from "vitest";
import { RECORD_ANNOTATION } from "../../api/labels.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import type { Pod } from "../../kube/resources.ts";
import { decideRequest } from "./decide.ts";

const now = new Date("2026-01-01T00:10:00Z");
const world = { now, nodeExists: true, nodeReady: () => true };
const request = (spec: object = {}, status?: CheckpointRequest["status"]): CheckpointRequest => ({
  metadata: { name: "r", namespace: "shop", creationTimestamp: "2026-01-01T00:00:00Z" },
  spec: { podReference: { name: "web", namespace: "shop" }, containerName: "app", ...spec },
  status,
});
const pod = (restartCount = 0, record?: object): Pod => ({
  metadata: {
    name: "web",
    namespace: "shop",
    uid: "pod",
    annotations: record === undefined ? {} : { [RECORD_ANNOTATION]: JSON.stringify({ app: record }) },
  },
  spec: { nodeName: "worker", containers: [{ name: "app" }] },
  status: {
    phase: "Running",
    containerStatuses: [
      {
        name: "app",
        image: "i",
        imageID: "",
        ready: true,
        restartCount,
        containerID: `containerd://c${restartCount}`,
        state: { running: {} },
      },
    ],
  },
});
const codeOf = (decision: ReturnType<typeof decideRequest>) =>
  decision.type === "fail" ? decision.error.code : decision.type;

describe("a request", () => {
  it("is given to the node of its pod", () => {
    expect(decideRequest(request(), pod(), world)).toEqual({
      type: "accept",
      nodeName: "worker",
      podUID: "pod",
      container: "app",
    });
  });
  it("for another namespace's pod is refused", () => {
    const other = request({ podReference: { name: "web", namespace: "bank" } });
    expect(codeOf(decideRequest(other, pod(), world))).toBe("PodInOtherNamespace");
  });
  it("for what does not exist or run is refused by name", () => {
    expect(codeOf(decideRequest(request(), undefined, world))).toBe("PodNotFound");
    expect(codeOf(decideRequest(request({ containerName: "none" }), pod(), world))).toBe("ContainerNotFound");
    const pending = { ...pod(), status: { phase: "Pending" } };
    expect(codeOf(decideRequest(request(), pending, world))).toBe("PodNotRunning");
  });
  it("for a container that has just restarted is refused until the restart was decided about", () => {
    const before = { podUID: "pod", originalImage: "i", run: 0, containerID: "c0" };
    expect(codeOf(decideRequest(request(), pod(1, before), world))).toBe("RestoreInProgress");
    const settled = { ...before, run: 1, containerID: "c1" };
    expect(codeOf(decideRequest(request(), pod(1, settled), world))).toBe("accept");
    const restore = { image: "x", after: 1, replaces: "c1", startedTime: now.toISOString() };
    expect(codeOf(decideRequest(request(), pod(1, { ...settled, restore }), world))).toBe(
      "RestoreInProgress",
    );
  });
  it("for a container whose record is of a later operator's is refused: nobody knows which run it is", () => {
    const later = { version: 99, podUID: "pod", runs: [] };
    expect(codeOf(decideRequest(request(), pod(1, later), world))).toBe("ProtocolUnknown");
    expect(codeOf(decideRequest(request(), pod(1, { ...later, podUID: "other" }), world))).toBe("accept");
  });
  it("for a container that nobody restores is taken, however often it restarted", () => {
    expect(codeOf(decideRequest(request(), pod(7), world))).toBe("accept");
  });
  it("for a pod on a node that is not ready waits for it, and not for ever", () => {
    const away = { ...world, nodeReady: () => false };
    const heldFor = (seconds: number) => ({ ...away, heldSince: new Date(now.getTime() - seconds * 1000) });
    // However long it has waited for its turn before.
    expect(codeOf(decideRequest(request(), pod(), away))).toBe("hold");
    expect(codeOf(decideRequest(request(), pod(), heldFor(299)))).toBe("hold");
    expect(codeOf(decideRequest(request(), pod(), heldFor(300)))).toBe("DeadlineExceeded");
  });
  it("left in progress by a dead agent ends at its deadline", () => {
    const accepted = {
      phase: "InProgress" as const,
      nodeName: "worker",
      acceptedTime: "2026-01-01T00:00:00Z",
    };
    expect(codeOf(decideRequest(request({}, accepted), undefined, world))).toBe("DeadlineExceeded");
    expect(codeOf(decideRequest(request({ timeoutSeconds: 3600 }, accepted), undefined, world))).toBe("wait");
  });
  it("of a node that is gone ends", () => {
    const accepted = { phase: "Pending" as const, nodeName: "worker", acceptedTime: now.toISOString() };
    expect(codeOf(decideRequest(request({}, accepted), undefined, { ...world, nodeExists: false }))).toBe(
      "NodeLost",
    );
  });
});
