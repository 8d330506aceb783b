import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Candidate, Plan } from "../store/plan.ts";
import { PLAN_VERSION } from "../store/plan.ts";
import { type RunState, STATE_VERSION } from "../store/runs.ts";
import { afterRestore, type CreateInput, decideCreate } from "./decide.ts";

const candidate = (n: number, containerID = "run-1"): Candidate => ({
  checkpoint: `c${n}`,
  uid: `uid-${n}`,
  copy: String(n).repeat(64).slice(0, 64),
  takenTime: new Date(Date.UTC(2026, 0, 1, 0, n)).toISOString(),
  containerID,
});
const plan = (more: Partial<Plan> = {}): Plan => ({
  version: PLAN_VERSION,
  podUID: "pod",
  namespace: "ns",
  pod: "web",
  container: "main",
  run: "run-1",
  onFailure: true,
  fallback: "FreshStart",
  onSpecChange: "Fresh",
  volumes: "Capture",
  maxAttempts: 3,
  stableSeconds: 30,
  perPodEnv: [],
  candidates: [candidate(3), candidate(2), candidate(1)],
  ...more,
});
const T0 = Date.UTC(2026, 0, 2);
const input = (more: Partial<CreateInput> = {}): CreateInput => ({
  plan: plan(),
  last: { id: "run-1", sandbox: "box", createdMs: T0 },
  end: { exitCode: 137, startedMs: T0, finishedMs: T0 + 3_600_000 },
  sandbox: "box",
  nowMs: T0 + 3_600_100,
  ...more,
});
const state = (more: Partial<RunState> = {}): RunState => ({
  version: STATE_VERSION,
  chain: [],
  crashes: {},
  passedOver: [],
  used: [],
  ...more,
});
const names = (given: CreateInput): string[] | string => {
  const decision = decideCreate(given);
  return decision.type === "restore" ? decision.candidates.map((c) => c.checkpoint) : decision.reason;
};
const ranFor = (ms: number, exitCode = 1) => ({ exitCode, startedMs: T0, finishedMs: T0 + ms });

describe("a run that ended", () => {
  it.each([
    ["in failure is restored, newest checkpoint first", {}, ["c3", "c2", "c1"]],
    ["with exit code 0 begins afresh", { end: ranFor(60_000, 0) }, "CleanExit"],
    ["whose end is not known keeps its state", { end: undefined }, ["c3", "c2", "c1"]],
    [
      "by the kubelet's hand is restored, whatever its exit code",
      { end: ranFor(60_000, 0), killed: "run-1" },
      ["c3", "c2", "c1"],
    ],
    [
      "whose predecessor was killed, not itself, begins afresh after exit code 0",
      { end: ranFor(1, 0), killed: "run-0" },
      "CleanExit",
    ],
    [
      "with its sandbox is restored, whatever its exit code",
      { end: ranFor(60_000, 0), sandbox: "other" },
      ["c3", "c2", "c1"],
    ],
    ["of which nothing is known is restored", { last: undefined, end: undefined }, ["c3", "c2", "c1"]],
    ["is left alone where no restore is wanted", { plan: plan({ onFailure: false }) }, "NotWanted"],
    ["without a checkpoint begins afresh", { plan: plan({ candidates: [] }) }, "NoCheckpoint"],
  ] as [string, Partial<CreateInput>, string[] | string][])("%s", (_, more, expected) => {
    expect(names(input(more))).toEqual(expected);
  });

  it("is not restored by the plan of a tree that a fresh start has ended", () => {
    const last = { id: "run-2", sandbox: "box", createdMs: T0 };
    expect(names(input({ last }))).toBe("NoCheckpoint");
    expect(names(input({ last, state: state({ chain: ["run-1"], restoredFrom: candidate(3) }) }))).toBe(
      "NoCheckpoint",
    );
  });
});

describe("a run that was restored", () => {
  const restored = (from: Candidate, more: Partial<RunState> = {}): Partial<CreateInput> => ({
    last: { id: "run-2", sandbox: "box", createdMs: T0 },
    state: state({ chain: ["run-1", "run-2"], restoredFrom: from, ...more }),
  });

  it("goes back to where it came from, never to something newer", () => {
    expect(names(input(restored(candidate(2))))).toEqual(["c2", "c1"]);
  });
  it("goes back there although the plan no longer names it", () => {
    const given = input({
      ...restored(candidate(2)),
      plan: plan({ candidates: [candidate(3), candidate(1)] }),
    });
    expect(names(given)).toEqual(["c2", "c1"]);
  });
  it("uses its own checkpoints once the plan is about it", () => {
    const own = candidate(4, "run-2");
    const given = input({
      ...restored(candidate(2)),
      plan: plan({ run: "run-2", candidates: [own, candidate(2)] }),
    });
    expect(names(given)).toEqual(["c4", "c2"]);
  });
  it("that crashes at once counts against its checkpoint, and after the last attempt the next one follows", () => {
    const quick = { ...restored(candidate(3), { crashes: { "uid-3": 1 } }), end: ranFor(2_000) };
    const second = decideCreate(input(quick));
    expect(second).toMatchObject({ type: "restore", failed: [], state: { crashes: { "uid-3": 2 } } });
    const third = decideCreate(input({ ...quick, ...restored(candidate(3), { crashes: { "uid-3": 2 } }) }));
    expect(third).toMatchObject({
      type: "restore",
      failed: [{ checkpoint: "c3", poisoned: true, code: "CheckpointPoisoned" }],
      state: { passedOver: ["uid-3"] },
    });
    expect(third.type === "restore" && third.candidates.map((c) => c.checkpoint)).toEqual(["c2", "c1"]);
  });
  it("that ended before it was started has crashed at once", () => {
    const end = { exitCode: 128, startedMs: 0, finishedMs: T0 + 100 };
    const given = { ...restored(candidate(3), { crashes: { "uid-3": 1 } }), end };
    expect(decideCreate(input(given))).toMatchObject({ state: { crashes: { "uid-3": 2 } } });
  });
  it("that a probe found hanging minutes later counts too", () => {
    const hung = (ms: number) =>
      decideCreate(
        input({ ...restored(candidate(3), { crashes: { "uid-3": 1 } }), end: ranFor(ms), killed: "run-2" }),
      );
    expect(hung(90_000)).toMatchObject({ state: { crashes: { "uid-3": 2 } } });
    expect(hung(301_000)).toMatchObject({ state: { crashes: {} } });
  });
  it("that ran well is forgiven what was before", () => {
    const decision = decideCreate(
      input({ ...restored(candidate(3), { crashes: { "uid-3": 2 } }), end: ranFor(31_000) }),
    );
    expect(decision).toMatchObject({ type: "restore", failed: [], state: { crashes: {} } });
  });
  it("is not blamed for a node that went down", () => {
    const given = {
      ...restored(candidate(3), { crashes: { "uid-3": 2 } }),
      end: ranFor(1_000),
      sandbox: "new",
    };
    expect(decideCreate(input(given))).toMatchObject({
      type: "restore",
      failed: [],
      state: { crashes: { "uid-3": 2 } },
    });
  });
  it("of a poisoned checkpoint with nothing else left begins afresh, and says what was lost", () => {
    const only = { ...restored(candidate(1), { crashes: { "uid-1": 2 } }), end: ranFor(1_000) };
    expect(decideCreate(input({ ...only, plan: plan({ candidates: [candidate(1)] }) }))).toMatchObject({
      type: "fresh",
      lost: true,
      reason: "CheckpointPoisoned",
      failed: [{ poisoned: true }],
    });
  });
});

describe("what was armed", () => {
  const armed = { id: "ask-1", candidate: candidate(1) };
  it("is restored whatever ended the run, with the run's own checkpoints behind it", () => {
    const decision = decideCreate(input({ plan: plan({ armed, onFailure: false }), end: ranFor(1, 0) }));
    expect(decision).toMatchObject({
      type: "restore",
      armed: "ask-1",
      cause: "asked for",
      state: { used: ["ask-1"] },
    });
    expect(decision.type === "restore" && decision.candidates.map((c) => c.checkpoint)).toEqual([
      "c1",
      "c3",
      "c2",
    ]);
  });
  it("is used once", () => {
    const given = input({ plan: plan({ armed, onFailure: false }), state: state({ used: ["ask-1"] }) });
    expect(names(given)).toBe("NotWanted");
  });
  it("is remembered as used across a fresh start", () => {
    const before = state({ chain: ["a", "b"], used: ["ask-1"] });
    const decision = decideCreate(input({ state: before }));
    expect(decision).toMatchObject({ type: "restore", state: { used: ["ask-1"], chain: ["run-1"] } });
  });
});

describe("the chain of runs", () => {
  it("begins with the run that was restored first, and grows", () => {
    const last = { id: "run-1", sandbox: "box", createdMs: T0 };
    const first = afterRestore(state(), { id: "run-2", last, candidate: candidate(3), before: state() });
    expect(first).toMatchObject({ chain: ["run-1", "run-2"], restoredFrom: { checkpoint: "c3" } });
    const next = { id: "run-2", sandbox: "box", createdMs: T0 };
    expect(
      afterRestore(first, { id: "run-3", last: next, candidate: candidate(3), before: first }).chain,
    ).toEqual(["run-1", "run-2", "run-3"]);
  });

  describe("a restore that was cut off", () => {
    const last = { id: "run-2", sandbox: "box", createdMs: T0 };
    const known = state({ chain: ["run-1", "run-2"], restoredFrom: candidate(2), crashes: { "uid-2": 1 } });
    const cutOff = (given: CreateInput): CreateInput => {
      const decision = decideCreate(given);
      if (decision.type !== "restore") throw new Error(decision.reason);
      const [first] = decision.candidates;
      const state = afterRestore(decision.state, {
        id: "run-3",
        last: given.last,
        candidate: first!,
        before: decision.before,
      });
      return { ...given, state };
    };

    it("is tried again from where the run before it came", () => {
      const given = input({ last, state: known });
      expect(names(cutOff(given))).toEqual(names(given));
      expect(names(cutOff(cutOff(given)))).toEqual(["c2", "c1"]);
    });

    it("again and again ends in a fresh start", () => {
      const given = input({ last, state: known });
      const twice = cutOff(cutOff(given));
      expect(names(cutOff(twice))).toBe("RestoreFailed");
      const asked = plan({ armed: { id: "ask-1", candidate: candidate(1) } });
      expect(names({ ...cutOff(twice), plan: asked })).toEqual(["c1", "c2"]);
      expect(decideCreate(cutOff(twice))).toMatchObject({
        lost: true,
        message: expect.stringContaining("3 times"),
      });
    });

    it("is no crash of its own", () => {
      const given = input({ last, state: known, end: ranFor(1) });
      expect(decideCreate(cutOff(cutOff(given)))).toMatchObject({ state: { crashes: { "uid-2": 2 } } });
    });

    it("has not used up what was armed", () => {
      const armed = { id: "ask-1", candidate: candidate(1) };
      const given = input({
        last: undefined,
        state: undefined,
        plan: plan({ run: "", onFailure: false, armed }),
      });
      expect(decideCreate(cutOff(given))).toMatchObject({ type: "restore", armed: "ask-1" });
      expect(decideCreate(cutOff(cutOff(cutOff(given))))).toMatchObject({ type: "fresh", armed: "ask-1" });
    });
  });

  it("over any sequence of crashes tries no checkpoint more often in a row than allowed, and ends", () => {
    fc.assert(
      fc.property(
        fc.array(fc.boolean(), { minLength: 1, maxLength: 40 }),
        fc.integer({ min: 1, max: 4 }),
        (quick, maxAttempts) => {
          let now = state();
          let last = { id: "run-1", sandbox: "box", createdMs: T0 };
          const tried: string[] = [];
          for (const [n, isQuick] of quick.entries()) {
            const given = input({
              plan: plan({ maxAttempts }),
              last,
              state: now,
              end: ranFor(isQuick ? 1 : 60_000),
            });
            const decision = decideCreate(given);
            if (decision.type === "fresh") {
              // Only when everything was poisoned.
              expect(quick.slice(0, n + 1).filter(Boolean).length).toBeGreaterThanOrEqual(3 * maxAttempts);
              return;
            }
            const [first] = decision.candidates;
            tried.push(first!.checkpoint);
            const id = `run-${n + 2}`;
            now = afterRestore(decision.state, { id, last, candidate: first!, before: decision.before });
            last = { id, sandbox: "box", createdMs: T0 };
          }
          // Once passed over it never comes back: the order only goes down.
          expect(tried).toEqual(tried.toSorted((a, b) => (a < b ? 1 : a > b ? -1 : 0)));
        },
      ),
    );
  });
});
