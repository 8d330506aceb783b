import { describe, expect, it } from "vitest";
import type { Pod } from "../../kube/resources.ts";
import { podSummary, type Strategy, type Surroundings, scheduleSummary, strategyOf } from "./decide.ts";

const around: Surroundings = { runtimeVersion: "containerd://2.4.2", images: true, handlerNodes: true };
const old = "containerd://2.3.2";
const pod = (spec: object = {}) => ({ metadata: { name: "p" }, spec: { containers: [], ...spec } }) as Pod;
const kcr = { runtimeClassName: "kcr" };

describe("the strategy of a container", () => {
  it.each<[string, "Auto" | "Runtime" | "Image", object, Partial<Surroundings>, string]>([
    ["Auto in a pod of class kcr", "Auto", kcr, {}, "Runtime HandlerClass"],
    ["Runtime in a pod of class kcr", "Runtime", kcr, {}, "Runtime HandlerClass"],
    [
      "Image in a pod of class kcr, which is for life",
      "Image",
      kcr,
      { runtimeVersion: old },
      "Runtime HandlerClass",
    ],
    ["Auto where the node restores images", "Auto", {}, { runtimeVersion: old }, "Image ImageRestore"],
    ["Auto where it may", "Auto", {}, { runtimeVersion: "containerd://2.3.7" }, "Image ImageIfConfigured"],
    [
      "Auto with a class of its own, and images",
      "Auto",
      { runtimeClassName: "own" },
      { runtimeVersion: old },
      "Image ImageRestore",
    ],
    ["Auto where only a new pod helps", "Auto", {}, {}, "None RuntimeFromNextPod"],
    ["Auto with a class of its own", "Auto", { runtimeClassName: "own" }, {}, "None OwnRuntimeClass"],
    ["Auto that no handler restores", "Auto", { hostPID: true }, {}, "None PodUnsuited"],
    ["Auto without any handler", "Auto", {}, { handlerNodes: false }, "None NoHandlerNode"],
    [
      "Auto without a registry",
      "Auto",
      {},
      { runtimeVersion: old, images: false },
      "None RuntimeFromNextPod",
    ],
    ["Auto on a node that is not known", "Auto", {}, { runtimeVersion: "" }, "None RuntimeFromNextPod"],
    [
      "Runtime, though the node restores images",
      "Runtime",
      {},
      { runtimeVersion: old },
      "None RuntimeFromNextPod",
    ],
    ["Runtime without any handler", "Runtime", {}, { handlerNodes: false }, "None NoHandlerNode"],
    ["Image where the node restores them", "Image", {}, { runtimeVersion: old }, "Image ImageRestore"],
    ["Image where it does not", "Image", {}, {}, "None NoImageRestore"],
    ["Image without a registry", "Image", {}, { runtimeVersion: old, images: false }, "None NoRegistry"],
  ])("%s", (_what, wanted, spec, given, expected) => {
    const { strategy, reason } = strategyOf(pod(spec), wanted, { ...around, ...given });
    expect(`${strategy} ${reason}`).toBe(expected);
  });

  it("that is none says why neither way is open", () => {
    const { message } = strategyOf(pod(), "Auto", around);
    expect(message).toMatch(/without RuntimeClass kcr.*no longer restore from an image/);
    expect(strategyOf(pod(), "Runtime", around).message).not.toMatch(/image/);
  });
});

const one = (strategy: Strategy["strategy"], reason: Strategy["reason"]): Strategy => ({
  strategy,
  reason,
  message: reason,
});
const good = one("Runtime", "HandlerClass");
const image = one("Image", "ImageRestore");
const bad = one("None", "RuntimeFromNextPod");

describe("the condition of a pod", () => {
  it("is none where nothing is protected", () => expect(podSummary(new Map())).toBeUndefined());
  it("says it once when all containers are alike", () =>
    expect(
      podSummary(
        new Map([
          ["a", good],
          ["b", good],
        ]),
      ),
    ).toEqual({
      status: "True",
      reason: "HandlerClass",
      message: "Runtime: HandlerClass",
    }));
  it("is that of the worst container, and names each", () =>
    expect(
      podSummary(
        new Map([
          ["b", bad],
          ["a", image],
        ]),
      ),
    ).toEqual({
      status: "False",
      reason: "RuntimeFromNextPod",
      message: "container a: Image, ImageRestore; container b: None, RuntimeFromNextPod",
    }));
});

describe("the condition of a schedule", () => {
  it("is none where nothing runs", () => expect(scheduleSummary([])).toBeUndefined());
  it("does not change with the number of pods that are alike", () => {
    expect(scheduleSummary([good])).toEqual(scheduleSummary([good, good, good]));
    expect(scheduleSummary([good])).toMatchObject({ status: "True", reason: "HandlerClass" });
  });
  it("counts them when they differ", () =>
    expect(scheduleSummary([good, bad, good])).toEqual({
      status: "False",
      reason: "RuntimeFromNextPod",
      message: "1 of 3 containers: None (RuntimeFromNextPod); 2 of 3 containers: Runtime (HandlerClass)",
    }));
});
