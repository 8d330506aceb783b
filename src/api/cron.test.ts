import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseCron } from "./cron.ts";
import { KcrError } from "./errors.ts";

const codeOf = (run: () => unknown): string | undefined => {
  try {
    run();
  } catch (error) {
    return error instanceof KcrError ? error.code : String(error);
  }
  return undefined;
};

describe("a cron expression", () => {
  it.each(["0 9 * * MON-FRI", "@midnight", "*/1 * * * *", "@hourly", "5,10 */2 1-7 JAN *"])(
    "%s is read",
    (text) => {
      expect(codeOf(() => parseCron(text))).toBeUndefined();
    },
  );

  it.each(["99 99 99 99 99", "", "* * * *", "* * * * * *", "@never", "a b c d e", "0 0 30 2 *", "\n"])(
    "%j is refused for good",
    (text) => {
      expect(codeOf(() => parseCron(text))).toBe("InvalidSchedule");
    },
  );

  it("of an unknown time zone is refused", () => {
    expect(codeOf(() => parseCron("@hourly", "Mars/Olympus"))).toBe("InvalidTimeZone");
  });

  it("gives the newest of several missed slots", () => {
    const cadence = parseCron("*/10 * * * *");
    const latest = cadence.latest(new Date("2026-01-01T10:00:00Z"), new Date("2026-01-01T11:05:00Z"));
    expect(latest?.toISOString()).toBe("2026-01-01T11:00:00.000Z");
    expect(
      cadence.latest(new Date("2026-01-01T11:00:00Z"), new Date("2026-01-01T11:05:00Z")),
    ).toBeUndefined();
    expect(
      cadence.latest(new Date("2026-01-01T10:50:00Z"), new Date("2026-01-01T11:00:00Z"))?.toISOString(),
    ).toBe("2026-01-01T11:00:00.000Z");
  });

  it("counts in its own time zone", () => {
    const next = parseCron("0 9 * * *", "Europe/Berlin").after(new Date("2026-07-01T00:00:00Z"));
    expect(next.toISOString()).toBe("2026-07-01T07:00:00.000Z");
  });

  const zones = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Antarctica/Troll"];
  /** Around the days on which these zones change their clocks, to the minute. */
  const moment = fc
    .tuple(
      fc.constantFrom("2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01"),
      fc.integer({ min: -36 * 60, max: 36 * 60 }),
    )
    .map(([day, minutes]) => Date.parse(day) + minutes * 60_000);

  it("says the same before and after a moment, in whatever order it is asked", () => {
    const expression = fc.constantFrom(
      "*/20 * * * *",
      "30 2 * * *",
      "15 1,2 * * *",
      "0 */2 * * *",
      "0 9 * * 1-5",
    );
    fc.assert(
      fc.property(fc.constantFrom(...zones), expression, fc.array(moment), (zone, expression, moments) => {
        const cadence = parseCron(expression, zone);
        for (const moment of moments) {
          const after = cadence.after(new Date(moment));
          expect(after.getTime()).toBeGreaterThan(moment);
          const latest = cadence.latest(new Date(0), new Date(moment))!;
          expect(latest.getTime()).toBeLessThanOrEqual(moment);
          // Nothing lies between the two, seen from either side.
          expect(cadence.after(latest)).toEqual(after);
          expect(cadence.latest(new Date(0), new Date(after.getTime() - 1))).toEqual(latest);
          expect(cadence.latest(latest, after)).toEqual(after);
        }
      }),
    );
  });

  it("of a time of day is due once a day in every zone, whatever its clocks do", () => {
    const time = fc.tuple(fc.integer({ min: 0, max: 59 }), fc.integer({ min: 0, max: 23 }));
    fc.assert(
      fc.property(fc.constantFrom(...zones), time, moment, (zone, [minute, hour], moment) => {
        const cadence = parseCron(`${minute} ${hour} * * *`, zone);
        const first = cadence.after(new Date(moment));
        const hours = (cadence.after(first).getTime() - first.getTime()) / 3_600_000;
        expect(hours).toBeGreaterThanOrEqual(22);
        expect(hours).toBeLessThanOrEqual(26);
      }),
    );
  });
});
