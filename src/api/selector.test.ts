import { describe, expect, it } from "vitest";
import { matches } from "./selector.ts";

describe("a selector", () => {
  it("that is empty matches nothing", () => {
    expect(matches({}, { app: "web" })).toBe(false);
    expect(matches({ matchLabels: {}, matchExpressions: [] }, { app: "web" })).toBe(false);
  });
  it("with matchExpressions is not ignored", () => {
    const only = (operator: "In" | "NotIn" | "Exists" | "DoesNotExist", values?: string[]) =>
      matches({ matchExpressions: [{ key: "tier", operator, values }] }, { tier: "db" });
    expect([
      only("In", ["db"]),
      only("In", ["web"]),
      only("NotIn", ["db"]),
      only("Exists"),
      only("DoesNotExist"),
    ]).toEqual([true, false, false, true, false]);
  });
});
