import { describe, expect, it } from "vitest";
import { hasHandlerReady, readSelftest } from "./selftest.ts";

const entry = (key: string, value: string | undefined): Record<string, string> =>
  value === undefined ? {} : { [key]: value };
const node = (label: string | undefined, annotation?: string) => ({
  metadata: {
    name: "n",
    labels: entry("kcr.io/runtime", label),
    annotations: entry("kcr.io/runtime-selftest", annotation),
  },
});
const result = (of: string): string =>
  JSON.stringify({ result: of, message: "m", time: "2026-01-01T00:00:00Z" });

describe("new pods count on a node's handler", () => {
  it.each([
    ["the label and a test that passed", node("ready", result("ready")), true],
    ["the label alone, as a person may set it", node("ready"), true],
    ["the label with an annotation that is none", node("ready", "{"), true],
    ["a label kept for pods that are there, the test failed", node("ready", result("failed")), false],
    ["a label kept for pods that are there, the handler is gone", node("ready", result("absent")), false],
    ["no label", node(undefined, result("ready")), false],
    ["another value", node("maybe", result("ready")), false],
  ])("with %s", (_, given, expected) => {
    expect(hasHandlerReady(given)).toBe(expected);
  });
});

it("a result that is no object is none", () => {
  expect(readSelftest(node("ready", "7"))).toBeUndefined();
  expect(readSelftest(node("ready", "null"))).toBeUndefined();
  expect(
    readSelftest(node("ready", JSON.stringify({ version: 99, result: { of: "another form" } }))),
  ).toBeUndefined();
});
