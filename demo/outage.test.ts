import { describe, expect, it } from "vitest";
import { outageOf, type Poll, spansOf } from "./outage.ts";

const FULL = 100;
/** A poll every 20 ms: F full, p partial, e empty, - no answer. */
const polls = (picture: string): Poll[] =>
  [...picture].map((seen, i) => {
    const keys = { F: FULL, p: 7, e: 0 }[seen];
    return { atMs: i * 20, ...(keys === undefined ? {} : { keys }) };
  });

describe("an outage", () => {
  it("with strategy Image: down, empty, down, full", () => {
    expect(outageOf(polls("FFF--eee-FF"), FULL, 35)).toEqual({
      killToServingMs: 180 - 40,
      emptyWindowMs: 140 - 100,
      spans: [
        { stage: "down", fromMs: 60, toMs: 80 },
        { stage: "empty", fromMs: 100, toMs: 140 },
        { stage: "down", fromMs: 160, toMs: 160 },
        { stage: "full", fromMs: 180, toMs: 200 },
      ],
    });
  });

  it("without an empty answer has no empty window", () => {
    expect(outageOf(polls("F--F"), FULL, 0)).toMatchObject({ killToServingMs: 60, emptyWindowMs: 0 });
  });

  it("counts an empty window from its first answer to its last, silence between them included", () => {
    expect(outageOf(polls("F-e-e-F"), FULL, 0)?.emptyWindowMs).toBe(40);
  });

  it("begins with the kill when nothing was seen alive after it", () => {
    expect(outageOf(polls("F--F"), FULL, 10)?.killToServingMs).toBe(50);
  });

  it("begins with the last full answer when the kill came late", () => {
    expect(outageOf(polls("FFFFF-F"), FULL, 10)?.killToServingMs).toBe(40);
  });

  it("does not end with a part of the data", () => {
    expect(outageOf(polls("F-epp"), FULL, 0)).toBeUndefined();
  });

  it("has not begun while all answers are full", () => {
    expect(outageOf(polls("FFFF"), FULL, 20)).toBeUndefined();
  });

  it("is not one that was over before the kill", () => {
    expect(outageOf(polls("F-FF-F"), FULL, 50)?.spans[0]).toEqual({ stage: "down", fromMs: 80, toMs: 80 });
  });
});

it("polls of one kind are one span", () => {
  expect(spansOf(polls("FF--F"), FULL).map(({ stage }) => stage)).toEqual(["full", "down", "full"]);
});
