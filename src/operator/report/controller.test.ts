import { describe, expect, it } from "vitest";
import { type Checkpoint, POISONED } from "../../api/checkpoint.ts";
import type { Condition } from "../../api/common.ts";
import { type Report, reportCondition, reportsOf } from "../../api/reports.ts";
import type { Pod } from "../../kube/resources.ts";
import { heard } from "./controller.ts";

const uid = "0b5c2f52-8c1b-4f0e-9d3a-3f1c7a2b4d5e";
const time = "2026-01-01T12:00:00Z";
const now = new Date("2026-01-01T12:00:05Z");
const report = (what: Report["what"]): Report => ({
  what,
  checkpointUID: uid,
  time,
  message: "it crashed 3 times",
});
const checkpoint = (status: Checkpoint["status"] = {}) => ({ status }) as Checkpoint;
const poisoned = (status: Condition["status"], lastTransitionTime: string): Condition => ({
  type: POISONED,
  status,
  reason: "x",
  message: "",
  lastTransitionTime,
});

describe("what an agent tells on a pod", () => {
  it("is read as it was said, among conditions of others", () => {
    const said = [report("restored"), report("poisoned")];
    const conditions = [
      { type: "Ready", status: "True" },
      { type: "kcr.io/Restored", status: "True" },
      { type: "kcr.io/restored.x", status: "True" },
      ...said.map((one) => reportCondition({ ...one, time: "2026-01-01T12:00:00.123Z" })),
    ];
    expect(reportsOf({ status: { conditions } } as Pod)).toEqual(said);
    expect(reportsOf({ metadata: { name: "new" } } as Pod)).toEqual([]);
  });

  it("counts once", () => {
    expect(heard(checkpoint(), report("restored"), now)).toEqual({
      restoredCount: 1,
      lastRestoredTime: time,
    });
    const known = checkpoint({ restoredCount: 1, lastRestoredTime: time });
    expect(heard(known, report("restored"), now)).toBeUndefined();
    const later = { ...report("restored"), time: "2026-01-01T12:01:00Z" };
    expect(heard(known, later, now)).toMatchObject({ restoredCount: 2 });
  });

  it("poisons, unless somebody has said otherwise since", () => {
    expect(heard(checkpoint(), report("poisoned"), now)).toMatchObject({
      conditions: [{ type: POISONED, status: "True", message: "it crashed 3 times" }],
    });
    const before = checkpoint({ conditions: [poisoned("False", "2026-01-01T11:00:00Z")] });
    expect(heard(before, report("poisoned"), now)).toBeDefined();
    const since = checkpoint({ conditions: [poisoned("False", "2026-01-01T12:00:03Z")] });
    expect(heard(since, report("poisoned"), now)).toBeUndefined();
  });
});
