import { describe, expect, it } from "vitest";
import type { Pod } from "../kube/resources.ts";
import { imageRestore, type Surroundings, strategyOf, unsuited } from "./strategy.ts";

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

describe("a pod is left alone that", () => {
  it.each<[string, object, object]>([
    ["has a class", { runtimeClassName: "gvisor" }, {}],
    ["has kcr's class already", { runtimeClassName: "kcr" }, {}],
    ["is among its host's processes", { hostPID: true }, {}],
    ["shares its processes", { shareProcessNamespace: true }, {}],
    ["has users of its own", { hostUsers: false }, {}],
    ["runs on Windows", { os: { name: "windows" } }, {}],
    ["is a static pod", {}, { "kubernetes.io/config.mirror": "x" }],
  ])("%s", (_what, more, annotations) => {
    const given = { ...pod(more), metadata: { name: "p", annotations } } as Pod;
    expect(unsuited(given)).toBeDefined();
  });
  it("is none of these is not", () => {
    expect(
      unsuited(pod({ hostUsers: true, hostPID: false, os: { name: "linux" }, runtimeClassName: "" })),
    ).toBeUndefined();
    expect(unsuited({ metadata: { name: "p" } })).toBeDefined();
  });
});

describe("restore from an image", () => {
  it.each([
    ["containerd://1.7.27", "no"],
    ["containerd://2.0.5", "no"],
    ["containerd://2.1.0", "yes"],
    ["containerd://2.2.6", "yes"],
    ["containerd://2.2.7", "if-configured"],
    ["containerd://v2.3.3", "yes"],
    ["containerd://2.3.7", "if-configured"],
    ["containerd://2.4.0", "no"],
    ["containerd://3.0.0", "no"],
    ["cri-o://1.34.0", "if-configured"],
    ["docker://20.10.0", "no"],
    ["", "no"],
  ])("%s: %s", (version, expected) => {
    expect(imageRestore(version).type).toBe(expected);
  });
});
