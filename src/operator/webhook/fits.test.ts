import { describe, expect, it } from "vitest";
import type { Node, Pod } from "../../kube/resources.ts";
import { fits } from "./fits.ts";

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

describe("whether a node has room for a pod", () => {
  const asking = (requests: Record<string, string>) => ({
    containers: [{ ...app, resources: { requests } }],
  });
  const pod = (requests: Record<string, string>, phase = "Running"): Pod =>
    ({ metadata: { name: "p" }, spec: spec(asking(requests)), status: { phase } }) as Pod;

  it.each<[string, Record<string, string>, Pod[], boolean]>([
    ["all of it", { cpu: "4", memory: "8Gi" }, [], true],
    ["more cpu than there is", { cpu: "4001m" }, [], false],
    ["more memory than there is", { memory: "8193Mi" }, [], false],
    ["more disk than there is", { "ephemeral-storage": "11Gi" }, [], false],
    ["what others leave", { cpu: "1500m" }, [pod({ cpu: "2" }), pod({ cpu: "500m" })], true],
    ["more than others leave", { cpu: "1501m" }, [pod({ cpu: "2" }), pod({ cpu: "500m" })], false],
    [
      "what pods that have ended asked for",
      { cpu: "4" },
      [pod({ cpu: "4" }, "Succeeded"), pod({ cpu: "4" }, "Failed")],
      true,
    ],
    ["a place among its pods", {}, [pod({}), pod({})], true],
    ["one pod too many", {}, [pod({}), pod({}), pod({})], false],
    ["a device that it has not", { "example.com/gpu": "1" }, [], false],
    ["none of a device that it has not", { "example.com/gpu": "0" }, [], true],
    ["cpu of a full node, of which it asks none", { memory: "1Gi" }, [pod({ cpu: "5" })], true],
  ])("%s", (_what, requests, pods, expected) =>
    expect(fits(spec(asking(requests)), node(), pods)).toBe(expected),
  );

  it("only where the node suits it", () => expect(fits(spec({ nodeName: "n2" }), node(), [])).toBe(false));
});
