import { describe, expect, it } from "vitest";
import type { Strategy } from "../../api/strategy.ts";
import { podSummary, scheduleSummary } from "./decide.ts";

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
