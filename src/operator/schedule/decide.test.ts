import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decideSchedule, spreadMs } from "./decide.ts";
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

describe("a schedule under a clock that is set", () => {
  const minute = 60_000;
  const interval = 5 * minute;
  const phase = fc.record({
    /** By how much the clock is set, and how long it then goes on. */
    jumpMs: fc.oneof(
      fc.integer({ min: -20_000, max: 20_000 }),
      fc.integer({ min: -360, max: 360 }).map((n) => n * minute),
    ),
    forMs: fc.integer({ min: 0, max: 40 * minute }),
  });
  const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

  it("runs every slot whose moment comes while it goes on, once each, and catches up one at most", () => {
    fc.assert(
      fc.property(fc.array(phase, { maxLength: 8 }), place, (phases, place) => {
        const spread = spreadMs(interval, place);
        const ran = new Set<number>();
        let lastRunTime: Date | undefined;
        let clock = createdTime.getTime();
        let furthest = clock;
        for (const { jumpMs, forMs } of phases) {
          const from = clock + jumpMs;
          const until = from + forMs;
          const runs: number[] = [];
          for (clock = from; clock <= until; ) {
            const decision = decideSchedule({ ...base, lastRunTime, place }, new Date(clock));
            if (decision.run !== undefined) runs.push(decision.run.getTime());
            ({ lastRunTime } = decision);
            expect(decision.nextRunTime.getTime()).toBeGreaterThan(clock);
            clock = decision.nextRunTime.getTime();
          }
          clock = until;
          expect(runs).toEqual([...new Set(runs)].sort((a, b) => a - b));
          for (const run of runs) ran.add(run);
          // The newest slot whose moment was over when the clock was set.
          const missed = Math.floor((from - spread) / interval) * interval;
          expect(runs.filter((slot) => slot <= missed).length).toBeLessThanOrEqual(1);
          // Where the clock has been ahead of this, there was a checkpoint at that moment.
          if (from >= furthest && missed > createdTime.getTime()) expect(ran).toContain(missed);
          for (let slot = missed + interval; slot + spread <= until; slot += interval) {
            if (slot > createdTime.getTime()) expect(ran).toContain(slot);
          }
          furthest = Math.max(furthest, until);
        }
        // The slot's time is in the name of its requests: one that is decided again makes no second one.
        for (const slot of ran) expect(slot % interval).toBe(0);
      }),
    );
  });
  it("does not lose a slot whose moment was still to come when the clock was set back", () => {
    const half = { ...base, place: 0.5, lastRunTime: at("09:00:00") };
    const decision = decideSchedule(half, at("00:05:10"));
    expect(decision).toEqual({ nextRunTime: at("00:05:15"), lastRunTime: at("00:00:00") });
    const { lastRunTime } = decision;
    expect(decideSchedule({ ...half, lastRunTime }, at("00:05:15")).run).toEqual(at("00:05:00"));
  });
  it("does not announce a slot again that was decided before the clock was set back", () => {
    const decided = { ...base, place: 0.5, lastRunTime: at("00:05:00") };
    expect(decideSchedule(decided, at("00:05:10"))).toEqual({
      nextRunTime: at("00:10:15"),
      lastRunTime: at("00:05:00"),
    });
  });
});

describe("a schedule in a zone that changes its clocks", () => {
  /** All that runs between two times, looked at when it says so. */
  const runsOf = (expression: string, timeZone: string, from: string, until: string): string[] => {
    const runs: string[] = [];
    let lastRunTime: Date | undefined;
    for (let now = new Date(from); now <= new Date(until); ) {
      const decision = decideSchedule(
        { ...base, expression, timeZone, createdTime: new Date(from), lastRunTime },
        now,
      );
      if (decision.run !== undefined) runs.push(decision.run.toISOString().slice(5, 16));
      lastRunTime = decision.lastRunTime;
      now = decision.nextRunTime;
    }
    return runs;
  };

  it.each([
    ["Europe/Berlin", "30 2 * * *", "2026-03-28T12:00Z", ["03-29T01:00", "03-30T00:30"]],
    ["Europe/Berlin", "30 2 * * *", "2026-10-24T12:00Z", ["10-25T00:30", "10-26T01:30"]],
    ["America/New_York", "30 2 * * *", "2026-03-07T12:00Z", ["03-08T07:00", "03-09T06:30"]],
    ["America/New_York", "30 1 * * *", "2026-10-31T12:00Z", ["11-01T05:30", "11-02T06:30"]],
    // Half an hour.
    ["Australia/Lord_Howe", "15 2 * * *", "2026-10-02T20:00Z", ["10-03T15:30", "10-04T15:15"]],
    ["Australia/Lord_Howe", "45 1 * * *", "2026-04-03T20:00Z", ["04-04T14:45", "04-05T15:15"]],
  ])("%s runs %s from %s once a day", (zone, expression, from, runs) => {
    const until = new Date(Date.parse(from) + 46 * 3_600_000).toISOString();
    expect(runsOf(expression, zone, from, until)).toEqual(runs);
  });

  it.each([
    ["Europe/Berlin", "2026-03-29T00:00Z"],
    ["Europe/Berlin", "2026-10-24T23:00Z"],
    ["America/New_York", "2026-03-08T05:00Z"],
    ["America/New_York", "2026-11-01T04:00Z"],
    ["Australia/Lord_Howe", "2026-10-03T14:00Z"],
    ["Australia/Lord_Howe", "2026-04-04T13:00Z"],
  ])("%s goes on every quarter of an hour from %s", (zone, from) => {
    const every = Array.from({ length: 16 }, (_, n) =>
      new Date(Date.parse(from) + (n + 1) * 900_000).toISOString().slice(5, 16),
    );
    const until = new Date(Date.parse(from) + 16 * 900_000).toISOString();
    expect(runsOf("*/15 * * * *", zone, from, until)).toEqual(every);
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
