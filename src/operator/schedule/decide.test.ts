import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decideSchedule } from "./decide.ts";
import { targetsOf } from "./targets.ts";

const createdTime = new Date("2026-01-01T00:00:30Z");
const base = { expression: "*/5 * * * *", suspend: false, createdTime };
const at = (time: string) => new Date(`2026-01-01T${time}Z`);

describe("a schedule", () => {
  it("has nothing due before its first slot", () => {
    expect(decideSchedule(base, at("00:04:59"))).toEqual({
      nextRunTime: at("00:05:00"),
      lastRunTime: undefined,
    });
  });
  it("runs a slot once, however often it is looked at", () => {
    const first = decideSchedule(base, at("00:05:00"));
    expect(first).toMatchObject({ run: at("00:05:00"), lastRunTime: at("00:05:00") });
    expect(decideSchedule({ ...base, lastRunTime: first.lastRunTime }, at("00:05:01")).run).toBeUndefined();
  });
  it("catches up at most one missed slot", () => {
    expect(decideSchedule(base, at("03:02:00"))).toMatchObject({
      run: at("03:00:00"),
      nextRunTime: at("03:05:00"),
    });
  });
  it("skips a slot that is later than the starting deadline", () => {
    const decision = decideSchedule({ ...base, startingDeadlineSeconds: 60 }, at("00:07:00"));
    expect(decision).toMatchObject({ skipped: at("00:05:00"), lastRunTime: at("00:05:00") });
    expect(decision.run).toBeUndefined();
    const strict = { ...base, startingDeadlineSeconds: 0 };
    expect(decideSchedule(strict, at("00:05:00.020")).run).toEqual(at("00:05:00"));
    expect(decideSchedule(strict, at("00:05:01")).skipped).toEqual(at("00:05:00"));
  });
  it("goes on after a clock that ran ahead has written a last run in the future", () => {
    const decision = decideSchedule({ ...base, lastRunTime: at("09:00:00") }, at("00:07:00"));
    expect(decision).toMatchObject({ nextRunTime: at("00:10:00") });
    expect(decision.run).toBeUndefined();
    const { lastRunTime } = decision;
    expect(decideSchedule({ ...base, lastRunTime }, at("00:10:00")).run).toEqual(at("00:10:00"));
    const created = decideSchedule({ ...base, createdTime: at("09:00:00") }, at("00:07:00"));
    expect(decideSchedule({ ...base, createdTime: at("09:00:00"), ...created }, at("00:10:00")).run).toEqual(
      at("00:10:00"),
    );
  });
  it("acts on a slot at its own place in the spread, a tenth of the interval at most, and always the same", () => {
    const half = { ...base, place: 0.5 };
    expect(decideSchedule(half, at("00:04:59"))).toMatchObject({ nextRunTime: at("00:05:15") });
    const early = decideSchedule(half, at("00:05:14"));
    expect(early).toEqual({ nextRunTime: at("00:05:15"), lastRunTime: undefined });
    expect(decideSchedule(half, at("00:05:15"))).toEqual({
      run: at("00:05:00"),
      lastRunTime: at("00:05:00"),
      nextRunTime: at("00:10:15"),
    });
    // One that was missed is caught up although the next one is due already, but not yet here.
    expect(decideSchedule(half, at("00:10:14")).run).toEqual(at("00:05:00"));
    const daily = { ...base, expression: "0 0 * * *", place: 0.999 };
    const { nextRunTime } = decideSchedule(daily, at("05:00:00"));
    expect(nextRunTime.getTime() - Date.parse("2026-01-02T00:00:00Z")).toBe(59_940);
  });
  it("makes no requests while suspended", () => {
    expect(decideSchedule({ ...base, suspend: true }, at("00:06:00")).run).toBeUndefined();
  });
  const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  it("never fires a slot twice nor out of order, whenever it is looked at", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 1000 }), { maxLength: 30 }), place, (steps, place) => {
        let now = createdTime.getTime();
        let lastRunTime: Date | undefined;
        const runs: number[] = [];
        for (const step of steps) {
          now += step * 1000;
          const decision = decideSchedule({ ...base, lastRunTime, place }, new Date(now));
          if (decision.run) runs.push(decision.run.getTime());
          lastRunTime = decision.lastRunTime;
          expect(decision.nextRunTime.getTime()).toBeGreaterThan(now);
        }
        expect(runs).toEqual([...new Set(runs)].sort((a, b) => a - b));
      }),
    );
  });
});

const pod = (name: string, labels: Record<string, string>, more: object = {}) => ({
  metadata: { name, labels, ...more },
  spec: { containers: [{ name: "app" }, { name: "side" }] },
  status: { phase: "Running" },
});

describe("the targets of a slot", () => {
  it("are the running pods, not pending or terminating ones", () => {
    const pods = [
      pod("b", { app: "web" }),
      { ...pod("a", { app: "web" }), status: { phase: "Pending" } },
      pod("c", { app: "web" }, { deletionTimestamp: "2026-01-01T00:00:00Z" }),
      pod("d", { app: "db" }),
    ];
    const targets = targetsOf({ selector: { matchLabels: { app: "web" } } }, pods);
    expect(targets.map((t) => [t.pod.metadata.name, t.container])).toEqual([["b", "app"]]);
  });
  it("are each named container, and the annotated default one otherwise", () => {
    const one = pod(
      "a",
      { app: "web" },
      { annotations: { "kubectl.kubernetes.io/default-container": "side" } },
    );
    const selector = { matchLabels: { app: "web" } };
    expect(targetsOf({ selector }, [one]).map((t) => t.container)).toEqual(["side"]);
    expect(
      targetsOf({ selector, containers: ["app", "side", "none"] }, [one]).map((t) => t.container),
    ).toEqual(["app", "side"]);
  });
});
