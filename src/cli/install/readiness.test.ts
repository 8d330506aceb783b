import { describe, expect, it } from "vitest";
import { type Observed, readinessOf } from "./readiness.ts";

const deployment = (status: object = {}) => ({
  metadata: { name: "kcr-operator", generation: 2 },
  spec: { replicas: 2 },
  status: { observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 2, ...status },
});
const daemonSet = (name: string, status: object = {}) => ({
  metadata: { name, generation: 1 },
  status: {
    observedGeneration: 1,
    desiredNumberScheduled: 1,
    updatedNumberScheduled: 1,
    numberAvailable: 1,
    ...status,
  },
});
const ready = { conditions: [{ type: "Ready", status: "True" }] };
const installer = (status: object = ready) => ({
  metadata: { name: "kcr-installer-x", uid: "u" },
  spec: { nodeName: "n" },
  status,
});
const node = (labels: object = { "kcr.io/runtime": "ready" }, selftest?: object) => ({
  metadata: {
    name: "n",
    labels,
    annotations: selftest && { "kcr.io/runtime-selftest": JSON.stringify(selftest) },
  },
});
const event = (reason: string, eventTime: string) => ({
  metadata: { name: reason },
  regarding: { uid: "u" },
  reportingController: "kcr-installer",
  reason,
  note: `n: ${reason}`,
  eventTime,
});

/** An installation that has come up, but for what is said. */
const observed = (more: object = {}): Observed =>
  ({
    deployments: [deployment()],
    daemonSets: [daemonSet("kcr-agent")],
    installer: daemonSet("kcr-installer"),
    installerPods: [installer()],
    nodes: [node()],
    events: [],
    selftest: true,
    ...more,
  }) as unknown as Observed;

it("waits for nothing where all has come up", () => {
  expect(readinessOf(observed())).toEqual({ waiting: [], problems: [] });
});

describe("it waits for", () => {
  it.each<[string, object, string[]]>([
    [
      "an operator that has not seen its change",
      { deployments: [deployment({ observedGeneration: 1 })] },
      ["kcr-operator (0 of 2)"],
    ],
    ["old pods of the operator", { deployments: [deployment({ replicas: 3 })] }, ["kcr-operator (1 of 2)"]],
    ["agents", { daemonSets: [daemonSet("kcr-agent", { numberAvailable: 0 })] }, ["kcr-agent (0 of 1)"]],
    [
      "agents that have no pods yet",
      { daemonSets: [daemonSet("kcr-agent", { observedGeneration: 0, desiredNumberScheduled: 0 })] },
      ["kcr-agent (0 of 1)"],
    ],
    ["installers that have none", { installerPods: [] }, ["installers (0 of 1)"]],
    [
      "a node that is being installed",
      { installerPods: [installer({})] },
      ["runtime handlers of n (being installed)"],
    ],
    ["a node's self-test", { nodes: [node({})] }, ["runtime handlers of n (self-test)"]],
    [
      "one that failed, for it is tried again",
      { nodes: [node({}, { result: "failed", message: "no criu", time: "" })] },
      ["runtime handlers of n (self-test failed: no criu)"],
    ],
  ])("%s", (_what, more, waiting) => {
    expect(readinessOf(observed(more))).toEqual({ waiting, problems: [] });
  });
});

describe("it does not wait for", () => {
  it.each<[string, object]>([
    ["handlers where nodes get none", { installer: undefined, installerPods: [installer({})] }],
    ["self-tests where there are none", { selftest: false, nodes: [node({})] }],
    [
      "an installer that is going",
      { installerPods: [installer(), { ...installer({}), metadata: { name: "o", deletionTimestamp: "x" } }] },
    ],
  ])("%s", (_what, more) => {
    expect(readinessOf(observed(more))).toEqual({ waiting: [], problems: [] });
  });

  it("a node whose runtime cannot have it, and says why", () => {
    const events = [
      event("HandlerMissing", "2026-01-01T12:00:00Z"),
      event("RuntimeUnsupported", "2026-01-01T12:01:00Z"),
    ];
    expect(readinessOf(observed({ installerPods: [installer({})], events }))).toEqual({
      waiting: [],
      problems: [{ node: "n", code: "RuntimeUnsupported", message: "n: RuntimeUnsupported" }],
    });
    const later = [...events, event("HandlerReady", "2026-01-01T12:02:00Z")];
    expect(readinessOf(observed({ events: later })).problems).toEqual([]);
  });
});
