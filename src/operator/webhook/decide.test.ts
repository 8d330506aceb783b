import { describe, expect, it } from "vitest";
import type { Node, Pod, RuntimeClass } from "../../kube/resources.ts";
import { decideClass, type Nodes } from "./decide.ts";

type PodSpec = NonNullable<Pod["spec"]>;
const LABEL = "kcr.io/runtime";
const runtimeClass: RuntimeClass = {
  metadata: { name: "kcr" },
  handler: "kcr",
  scheduling: { nodeSelector: { [LABEL]: "ready" } },
};
const node = (name: string, ready: boolean, more: object = {}): Node =>
  ({
    metadata: { name, labels: { "kubernetes.io/hostname": name, ...(ready ? { [LABEL]: "ready" } : {}) } },
    status: { conditions: [{ type: "Ready", status: "True" }], allocatable: { cpu: "4", pods: "100" } },
    ...more,
  }) as Node;
const spec = (more: object = {}) => ({ containers: [{ name: "app" }], ...more }) as PodSpec;
const pod = (more: object = {}) => ({ metadata: { name: "p" }, spec: spec(more) });
const cpu = (amount: string) => ({ containers: [{ name: "app", resources: { requests: { cpu: amount } } }] });
const nodes = (all: Node[], more: Partial<Nodes> = {}): Nodes => ({
  all,
  podsOn: () => [],
  waiting: [],
  ...more,
});
const mixed = [node("plain", false), node("ready", true)];
const whole = [node("one", true), node("two", true)];

const outcome = (spec: object, of: Nodes, given: RuntimeClass | undefined = runtimeClass): string => {
  const decision = decideClass(pod(spec), given, of);
  return decision.type === "class" ? "class" : decision.why;
};

describe("a protected pod", () => {
  it.each<[string, object, Nodes, string | RegExp]>([
    ["gets the class where a node has the handler ready", {}, nodes(mixed), "class"],
    ["not where no node has", {}, nodes([node("plain", false)]), /no node that it may be on/],
    ["not where there is no node", {}, nodes([]), /no node that it may be on/],
    ["not when it is pinned to a node without", { nodeName: "plain" }, nodes(mixed), /no node/],
    ["when it is pinned to a node with it", { nodeName: "ready" }, nodes(mixed), "class"],
    [
      "not when it asks for another state of the handler",
      { nodeSelector: { [LABEL]: "no" } },
      nodes(mixed),
      /another kcr.io/,
    ],
    ["when it asks for the handler itself", { nodeSelector: { [LABEL]: "ready" } }, nodes(mixed), "class"],
    ["not when no node with the handler has room", cpu("5"), nodes(mixed), /room/],
    [
      "not when the room is taken by the node's pods",
      cpu("2"),
      nodes(mixed, { podsOn: (name) => (name === "ready" ? [pod(cpu("3"))] : []) }),
      /room/,
    ],
    [
      "not when the room is about to be taken",
      cpu("2"),
      nodes(mixed, { waiting: [{ spec: spec(cpu("3")) }] }),
      /room/,
    ],
    [
      "when who waits finds room elsewhere",
      cpu("2"),
      nodes(whole, { waiting: [{ spec: spec(cpu("3")) }] }),
      "class",
    ],
    [
      "when who waits can be only elsewhere",
      cpu("4"),
      nodes(whole, {
        waiting: [{ spec: spec({ ...cpu("4"), nodeSelector: { "kubernetes.io/hostname": "two" } }) }],
      }),
      "class",
    ],
    [
      "when who waits finds no room at all",
      cpu("4"),
      nodes(whole, { waiting: [{ spec: spec(cpu("5")) }] }),
      "class",
    ],
    [
      "not when a node that is ready has a taint",
      {},
      nodes([node("ready", true, { spec: { taints: [{ key: "k", effect: "NoSchedule" }] } })]),
      /no node/,
    ],
  ])("%s", (_what, given, of, expected) => {
    if (typeof expected === "string") expect(outcome(given, of)).toBe(expected);
    else expect(outcome(given, of)).toMatch(expected);
  });

  it("gets no class that is not there, or of another handler", () => {
    expect(outcome({}, nodes(mixed), { ...runtimeClass, handler: "other" })).toMatch(/no RuntimeClass/);
    expect(decideClass(pod(), undefined, nodes(mixed))).toMatchObject({ type: "leave" });
  });

  it("is judged by what the class itself says of nodes and overhead", () => {
    const tainted = node("ready", true, { spec: { taints: [{ key: "k", effect: "NoSchedule" }] } });
    const scheduling = { ...runtimeClass.scheduling, tolerations: [{ key: "k", operator: "Exists" }] };
    expect(outcome({}, nodes([tainted]), { ...runtimeClass, scheduling })).toBe("class");
    const overhead = { podFixed: { cpu: "1" } };
    expect(outcome(cpu("3"), nodes(mixed), { ...runtimeClass, overhead })).toBe("class");
    expect(outcome(cpu("3500m"), nodes(mixed), { ...runtimeClass, overhead })).toMatch(/room/);
    const elsewhere = { nodeSelector: { [LABEL]: "ready", zone: "a" } };
    expect(outcome({}, nodes(mixed), { ...runtimeClass, scheduling: elsewhere })).toMatch(/no node/);
  });

  const anti = {
    requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: "kubernetes.io/hostname" }],
  };
  it.each<[string, object]>([
    ["anti-affinity", { affinity: { podAntiAffinity: anti } }],
    ["affinity", { affinity: { podAffinity: anti } }],
    ["topology spread", { topologySpreadConstraints: [{ whenUnsatisfiable: "DoNotSchedule" }] }],
    ["volume claim", { volumes: [{ name: "v", persistentVolumeClaim: { claimName: "c" } }] }],
    ["ephemeral volume", { volumes: [{ name: "v", ephemeral: {} }] }],
    ["host port", { containers: [{ name: "app", ports: [{ containerPort: 1, hostPort: 1 }] }] }],
    ["device claim", { resourceClaims: [{ name: "gpu" }] }],
  ])("with %s gets the class only where it leaves it no node fewer", (_what, given) => {
    expect(outcome(given, nodes(whole))).toBe("class");
    expect(outcome(given, nodes(mixed))).toMatch(/not all nodes/);
    const only = { nodeSelector: { "kubernetes.io/hostname": "ready" } };
    expect(outcome({ ...given, ...only }, nodes(mixed))).toBe("class");
  });

  it("with mere preferences is not held back by them", () => {
    const affinity = {
      podAntiAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1 }] },
    };
    const topologySpreadConstraints = [{ whenUnsatisfiable: "ScheduleAnyway" }];
    const volumes = [{ name: "v", emptyDir: {} }];
    expect(outcome({ affinity, topologySpreadConstraints, volumes }, nodes(mixed))).toBe("class");
  });
});
