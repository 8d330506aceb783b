import { describe, expect, it } from "vitest";
import { decideWorkload } from "./decide.ts";

const workload = {
  uid: "me",
  deleting: false,
  expression: "@hourly",
  selector: { matchLabels: { app: "web" } },
};

describe("a workload", () => {
  it("with the annotation gets its schedule", () => {
    expect(decideWorkload(workload, undefined)).toMatchObject({ type: "apply", schedule: "@hourly" });
  });
  it("never takes over a person's own schedule of its name", () => {
    expect(decideWorkload(workload, { deleting: false })).toEqual({ type: "taken" });
    expect(decideWorkload(workload, { ownerUID: "other", deleting: false })).toEqual({ type: "taken" });
    expect(decideWorkload({ ...workload, expression: undefined }, { deleting: false })).toEqual({
      type: "nothing",
    });
  });
  it("whose annotation is gone removes the schedule that it owns", () => {
    expect(
      decideWorkload({ ...workload, expression: undefined }, { ownerUID: "me", deleting: false }),
    ).toEqual({
      type: "remove",
    });
  });
  it("with an invalid cron says so and is not retried", () => {
    const decision = decideWorkload({ ...workload, expression: "99 99 99 99 99" }, undefined);
    expect(decision).toMatchObject({ type: "apply", invalid: { code: "InvalidSchedule" } });
  });
  it.each(["", "x".repeat(257)])(
    "with an annotation that no schedule may hold is refused: %j",
    (expression) => {
      const decision = decideWorkload({ ...workload, expression }, undefined);
      expect(decision).toMatchObject({ type: "refuse", error: { code: "InvalidSchedule" } });
    },
  );
  it("that is being deleted is left to the garbage collector", () => {
    expect(decideWorkload({ ...workload, deleting: true }, { ownerUID: "me", deleting: false })).toEqual({
      type: "wait",
    });
  });
});
