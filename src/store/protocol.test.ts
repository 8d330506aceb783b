import { describe, expect, it, test } from "vitest";
import { COPY_VERSION, contentDigest, parseCopyIndex } from "./copy.ts";
import { NOTE_VERSION, type Note, parseNote, parseUndumped } from "./notes.ts";
import { PLAN_VERSION, type Plan, parsePlan } from "./plan.ts";
import { isKnown, laterProtocol, laterProtocolIn, ofLaterProtocol } from "./protocol.ts";
import { parseState, type RunState, STATE_VERSION } from "./runs.ts";

test.each<[unknown, number, boolean, number | undefined]>([
  [{}, 1, true, undefined],
  [{ version: undefined }, 3, true, undefined],
  [{ version: 1 }, 1, true, undefined],
  [{ version: 2 }, 3, true, undefined],
  [{ version: 2 }, 1, false, 2],
  [{ version: 0 }, 1, false, undefined],
  [{ version: 1.5 }, 1, false, undefined],
  [{ version: "1" }, 1, false, undefined],
  [{ version: Number.MAX_VALUE }, 1, false, undefined],
])("%j, where %i is the newest: known %s, later %s", (value, newest, known, later) => {
  expect(isKnown(value, newest)).toBe(known);
  expect(laterProtocol(value, newest)).toBe(later);
  expect(laterProtocolIn(JSON.stringify(value), newest)).toBe(later);
});

it("what is no JSON is of no later protocol", () => {
  expect(laterProtocolIn("{", 1)).toBeUndefined();
  expect(laterProtocolIn(undefined, 1)).toBeUndefined();
  expect(ofLaterProtocol("the plan", 2, 1)).toBe(
    "the plan is of protocol 2, and no later one than 1 is known here",
  );
});

const plan: Plan = {
  version: PLAN_VERSION,
  podUID: "pod-1",
  namespace: "shop",
  pod: "cache",
  container: "app",
  run: "",
  onFailure: true,
  fallback: "FreshStart",
  onSpecChange: "Fresh",
  volumes: "Capture",
  maxAttempts: 3,
  stableSeconds: 30,
  perPodEnv: [],
  candidates: [],
};
const note: Note = {
  version: NOTE_VERSION,
  podUID: "pod-1",
  namespace: "shop",
  pod: "cache",
  container: "app",
  containerID: "c",
  time: "2026-01-01T12:00:00Z",
  cause: "exit code 137",
  type: "fresh",
  reason: "NoCheckpoint",
  message: "none",
  lost: false,
  failed: [],
};
const undumped = { version: NOTE_VERSION, containerID: "c", time: note.time, errors: ["why"] };
const state: RunState = { version: STATE_VERSION, chain: [], crashes: {}, passedOver: [], used: [] };
const index = {
  version: COPY_VERSION,
  archive: "a".repeat(64),
  engine: "containerd",
  files: [],
  openForWriting: [],
  mounts: [],
};

describe.each<[string, object, number, (text: string) => unknown]>([
  ["a plan", plan, PLAN_VERSION, parsePlan],
  ["a note", note, NOTE_VERSION, parseNote],
  ["a word of a dump that failed", undumped, NOTE_VERSION, parseUndumped],
  ["what the handler remembers", state, STATE_VERSION, parseState],
  ["a copy's index", index, COPY_VERSION, parseCopyIndex],
])("%s", (_, value, newest, parse) => {
  it("is read of every protocol up to its own, and without a number", () => {
    for (let version = 1; version <= newest; version++) {
      expect(parse(JSON.stringify({ ...value, version }))).toBeDefined();
    }
    expect(parse(JSON.stringify({ ...value, version: undefined }))).toBeDefined();
  });
  it("is read with a field that a later part has added", () => {
    expect(parse(JSON.stringify({ ...value, later: { of: ["any", 1] } }))).toBeDefined();
  });
  it("is not acted on when it is of a later one, nor of none that there is", () => {
    for (const version of [newest + 1, 0, "1", null, [1]]) {
      expect(parse(JSON.stringify({ ...value, version }))).toBeUndefined();
    }
  });
});

it("a copy is the same whatever number its index bears", () => {
  expect(contentDigest({ ...index, version: 2 } as typeof index)).toBe(contentDigest(index));
});
