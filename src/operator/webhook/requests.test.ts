import { describe, expect, it } from "vitest";
import type { Pod } from "../../kube/resources.ts";
import { amountsOf, podRequests, quantitiesOf } from "./requests.ts";

const container = (cpu: string, memory: string, more: object = {}) => ({
  name: "c",
  resources: { requests: { cpu, memory } },
  ...more,
});
const requestsOf = (spec: object) => podRequests({ containers: [], ...spec } as NonNullable<Pod["spec"]>);
const sidecar = { restartPolicy: "Always" };

describe("what a pod asks of its node", () => {
  it.each([
    ["nothing", {}, {}],
    [
      "the sum of its containers",
      { containers: [container("100m", "1Gi"), container("0.5", "1Mi")] },
      { cpu: 600, memory: 2 ** 30 + 2 ** 20 },
    ],
    [
      "what an init container needs, where that is more",
      { initContainers: [container("2", "1")], containers: [container("1", "5")] },
      { cpu: 2000, memory: 5 },
    ],
    [
      "sidecars beside its containers, and beside later init containers",
      {
        initContainers: [container("5", "0"), container("1", "1", sidecar), container("2", "3")],
        containers: [container("1", "1")],
      },
      { cpu: 5000, memory: 4 },
    ],
    [
      "what is said of the whole pod before what its containers say",
      { resources: { requests: { cpu: "1" } }, containers: [container("3", "7")] },
      { cpu: 1000, memory: 7 },
    ],
    [
      "overhead besides",
      { overhead: { cpu: "250m" }, containers: [container("1", "1")] },
      { cpu: 1250, memory: 1 },
    ],
  ])("is %s", (_what, spec, expected) => expect(requestsOf(spec)).toEqual(expected));

  it("is the same after it was written down as one", () => {
    const spec = {
      initContainers: [container("2", "1Gi")],
      containers: [container("1100m", "1.5Gi")],
      overhead: { cpu: "1m" },
    };
    const amounts = requestsOf(spec);
    expect(requestsOf({ resources: { requests: quantitiesOf(amounts) } })).toEqual(amounts);
  });

  it("is counted in whole thousandths of a cpu, rounded up, without the dust of binary fractions", () => {
    expect(amountsOf({ cpu: "1.1" })).toEqual({ cpu: 1100 });
    expect(amountsOf({ cpu: "0.29" })).toEqual({ cpu: 290 });
    expect(amountsOf({ cpu: "100u" })).toEqual({ cpu: 1 });
    expect(amountsOf({ "nvidia.com/gpu": "2" })).toEqual({ "nvidia.com/gpu": 2 });
  });
});
