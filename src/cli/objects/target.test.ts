import { describe, expect, it } from "vitest";
import { seconds, several } from "../flags.ts";
import { OWN, PODS, WORKLOADS } from "./kinds.ts";
import { matchesText, selectorText } from "./selector.ts";
import { parseTargets } from "./target.ts";

const among = [PODS, ...WORKLOADS];
const read = (words: string[]) =>
  parseTargets(words, among).map(({ kind, name }) => `${kind.resource.kind} ${name}`);

describe("names of objects", () => {
  it.each([
    [
      ["deploy/x", "pod/y"],
      ["Deployment x", "Pod y"],
    ],
    [["deployment.apps/x"], ["Deployment x"]],
    [["Deployments/x"], ["Deployment x"]],
    [
      ["sts", "x", "y"],
      ["StatefulSet x", "StatefulSet y"],
    ],
    [
      ["po/x", "ds/x", "job/x"],
      ["Pod x", "DaemonSet x", "Job x"],
    ],
  ])("%j are read as kubectl does", (words, expected) => {
    expect(read(words)).toEqual(expected);
  });

  it.each([
    [["x"]],
    [["deploy"]],
    [["svc/x"]],
    [["deploy/"]],
    [["deploy/x/y"]],
    [["deployment.batch/x"]],
    [[""]],
  ])("%j are refused", (words) => {
    expect(() => read(words)).toThrow(/write|is none of/);
  });

  it("without a kind are of the one that is meant", () => {
    const [target] = parseTargets(["redis-0"], Object.values(OWN), OWN.checkpoint);
    expect(target).toEqual({ kind: OWN.checkpoint, name: "redis-0" });
    // A Checkpoint may be called as a kind is.
    expect(parseTargets(["restore"], Object.values(OWN), OWN.checkpoint)[0]).toMatchObject({
      name: "restore",
    });
  });
});

describe("selectors", () => {
  it("of objects are written as the API takes them", () => {
    const matchExpressions = [
      { key: "a", operator: "In" as const, values: ["1", "2"] },
      { key: "b", operator: "NotIn" as const, values: ["3"] },
      { key: "c", operator: "Exists" as const },
      { key: "d", operator: "DoesNotExist" as const },
    ];
    expect(selectorText({ matchLabels: { app: "x" }, matchExpressions })).toBe(
      "app=x,a in (1,2),b notin (3),c,!d",
    );
    expect(selectorText({})).toBe("");
  });

  it.each([
    ["app=x", true],
    ["app==x,tier", true],
    ["app!=x", false],
    ["!canary", true],
    ["!tier", false],
    ["other!=x", true],
    ["other", false],
    ["", true],
  ])("%j that a person types: %s", (text, expected) => {
    expect(matchesText(text, { app: "x", tier: "web" })).toBe(expected);
  });

  it("that mean nothing are refused", () => {
    for (const text of ["a in (b)", "!a=b", "=x"]) expect(() => matchesText(text, {})).toThrow(/-l/);
  });
});

describe("flags", () => {
  it.each([
    ["90", 90],
    ["30s", 30],
    ["5m", 300],
    ["1h30m", 5400],
  ])("%s is so many seconds", (text, expected) => {
    expect(seconds(text)).toBe(expected);
  });
  it("that are no durations are refused", () => {
    for (const text of ["", "m", "1d", "-1s", "1.5m", "m5"]) expect(() => seconds(text)).toThrow();
  });
  it("may come several times, or with commas", () => {
    expect(several("c", several("a,b"))).toEqual(["a", "b", "c"]);
  });
});
