import { describe, expect, it } from "vitest";
import type { Node, Pod } from "../kube/resources.ts";
import { suits } from "./placement.ts";

type PodSpec = NonNullable<Pod["spec"]>;
const app = { name: "app" };
const spec = (more: object = {}): PodSpec => ({ containers: [app], ...more }) as PodSpec;
const node = (more: { labels?: Record<string, string>; spec?: object; status?: object } = {}): Node =>
  ({
    metadata: { name: "n1", labels: { "kubernetes.io/os": "linux", zone: "a", cores: "8", ...more.labels } },
    spec: { ...more.spec },
    status: {
      conditions: [{ type: "Ready", status: "True" }],
      allocatable: { cpu: "4", memory: "8Gi", pods: "3", "ephemeral-storage": "10Gi" },
      ...more.status,
    },
  }) as Node;
const affinity = (...terms: object[]) => ({
  affinity: {
    nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: terms } },
  },
});
const expression = (key: string, operator: string, ...values: string[]) => ({
  matchExpressions: [{ key, operator, values }],
});
const name = (...values: string[]) => ({ matchFields: [{ key: "metadata.name", operator: "In", values }] });
const taint = (effect: string, more: object = {}) => ({
  taints: [{ key: "only", value: "x", effect, ...more }],
});
const tolerate = (...tolerations: object[]) => ({ tolerations });

describe("whether a node suits a pod", () => {
  it.each<[string, object, Parameters<typeof node>[0], boolean]>([
    ["any node that is ready", {}, {}, true],
    ["not ready", {}, { status: { conditions: [{ type: "Ready", status: "Unknown" }] } }, false],
    ["no report yet", {}, { status: { conditions: undefined } }, false],
    ["Windows", {}, { labels: { "kubernetes.io/os": "windows" } }, false],
    ["cordoned", {}, { spec: { unschedulable: true } }, false],
    [
      "cordoned, and tolerated as by a DaemonSet's pod",
      tolerate({ key: "node.kubernetes.io/unschedulable", operator: "Exists", effect: "NoSchedule" }),
      { spec: { unschedulable: true } },
      true,
    ],
    ["a node selector that is met", { nodeSelector: { zone: "a" } }, {}, true],
    ["a node selector that is not", { nodeSelector: { zone: "b" } }, {}, false],
    ["In", affinity(expression("zone", "In", "b", "a")), {}, true],
    ["In, another value", affinity(expression("zone", "In", "b")), {}, false],
    ["In, no label", affinity(expression("none", "In", "b")), {}, false],
    ["NotIn", affinity(expression("zone", "NotIn", "b")), {}, true],
    ["NotIn, the value", affinity(expression("zone", "NotIn", "a")), {}, false],
    ["NotIn, no label", affinity(expression("none", "NotIn", "a")), {}, true],
    ["Exists", affinity(expression("zone", "Exists")), {}, true],
    ["Exists, no label", affinity(expression("none", "Exists")), {}, false],
    ["DoesNotExist", affinity(expression("none", "DoesNotExist")), {}, true],
    ["DoesNotExist, a label", affinity(expression("zone", "DoesNotExist")), {}, false],
    ["Gt", affinity(expression("cores", "Gt", "7")), {}, true],
    ["Gt, the same", affinity(expression("cores", "Gt", "8")), {}, false],
    ["Gt, no number", affinity(expression("zone", "Gt", "1")), {}, false],
    ["Lt", affinity(expression("cores", "Lt", "9")), {}, true],
    ["Lt, the same", affinity(expression("cores", "Lt", "8")), {}, false],
    ["an operator that is not known", affinity(expression("zone", "Near", "a")), {}, false],
    ["its own name", affinity(name("n1")), {}, true],
    ["another name", affinity(name("n2")), {}, false],
    [
      "a name and a label, both of one term",
      affinity({ ...name("n1"), ...expression("zone", "In", "b") }),
      {},
      false,
    ],
    ["the second of two terms", affinity(name("n2"), expression("zone", "In", "a")), {}, true],
    ["a term of nothing", affinity({}), {}, false],
    ["pinned to it", { nodeName: "n1" }, {}, true],
    ["pinned elsewhere", { nodeName: "n2" }, {}, false],
    ["pinned to a cordoned one", { nodeName: "n1" }, { spec: { unschedulable: true } }, true],
    ["pinned to one that throws it off", { nodeName: "n1" }, { spec: taint("NoExecute") }, false],
    ["NoSchedule", {}, { spec: taint("NoSchedule") }, false],
    ["NoExecute", {}, { spec: taint("NoExecute") }, false],
    ["PreferNoSchedule", {}, { spec: taint("PreferNoSchedule") }, true],
    [
      "tolerated by key and value",
      tolerate({ key: "only", value: "x" }),
      { spec: taint("NoSchedule") },
      true,
    ],
    [
      "tolerated with another value",
      tolerate({ key: "only", value: "y" }),
      { spec: taint("NoSchedule") },
      false,
    ],
    ["tolerated by key", tolerate({ key: "only", operator: "Exists" }), { spec: taint("NoSchedule") }, true],
    ["tolerated as all are", tolerate({ operator: "Exists" }), { spec: taint("NoExecute") }, true],
    [
      "tolerated for another effect",
      tolerate({ key: "only", operator: "Exists", effect: "NoSchedule" }),
      { spec: taint("NoExecute") },
      false,
    ],
    ["a toleration without key or operator", tolerate({ value: "x" }), { spec: taint("NoSchedule") }, false],
    [
      "an operator of tolerations that is not known",
      tolerate({ key: "only", operator: "Gt", value: "1" }),
      { spec: taint("NoSchedule") },
      false,
    ],
    [
      "one of two taints tolerated",
      tolerate({ key: "only", operator: "Exists" }),
      { spec: { taints: [...taint("NoSchedule").taints, { key: "two", effect: "NoSchedule" }] } },
      false,
    ],
  ])("%s", (_what, pod, of, expected) => expect(suits(spec(pod), node(of))).toBe(expected));
});
