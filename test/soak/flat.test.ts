import { describe, expect, it } from "vitest";
import { courseOf, type Sample } from "./flat.ts";

/** A sample every ten seconds. */
const samples = (minutes: number, rssMiB: (minute: number) => number, files = (_: number) => 30): Sample[] =>
  Array.from({ length: minutes * 6 }, (_, i) => ({
    at: i * 10_000,
    rssBytes: rssMiB(i / 6) * 2 ** 20,
    files: files(i / 6),
  }));

describe("the course of a process", () => {
  it("is flat once it has warmed up, with now and then a peak", () => {
    const course = courseOf(
      "agent",
      samples(12, (minute) => (minute < 3 ? 60 + minute * 10 : 90 + (minute % 2) * 5)),
    );
    expect(course).toMatchObject({ flat: true, samples: 72 });
  });

  it("is not flat where memory or files grow without end", () => {
    expect(
      courseOf(
        "agent",
        samples(15, (minute) => 80 + minute * 6),
      ).flat,
    ).toBe(false);
    const files = (minute: number) => 30 + Math.floor(minute * 2);
    expect(
      courseOf(
        "agent",
        samples(15, () => 80, files),
      ).flat,
    ).toBe(false);
  });

  it("says nothing of one that did not live for long", () => {
    expect(
      courseOf(
        "agent",
        samples(5, (minute) => 80 + minute * 9),
      ).flat,
    ).toBeUndefined();
    expect(courseOf("agent", []).flat).toBeUndefined();
  });
});
