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
});
