import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Checkpoint } from "../api/checkpoint.ts";
import type { CheckpointDownload } from "../api/download.ts";
import type { CheckpointRestore } from "../api/restore.ts";
import type { RetentionRules } from "../api/retention.ts";
import { decideRetention, type RetentionInput } from "./decide.ts";
import { protectedOf } from "./facts.ts";
import { rulesOf, type Sources } from "./rules.ts";
import { GIB, NOW, type Sketch, sketch, sketchPod } from "./testing.ts";

const retention = (spec: object, name = "policy") =>
  ({ kind: "CheckpointRetention", metadata: { name, namespace: "shop" }, spec }) as never;
const cluster = (spec: object, name = "all") =>
  ({ kind: "ClusterCheckpointRetention", metadata: { name }, spec }) as never;
const schedule = (name: string, spec: object, annotations = {}) =>
  ({ kind: "CheckpointSchedule", metadata: { name, namespace: "shop", annotations }, spec }) as never;

const sources = (more: Partial<Sources> = {}): Sources => ({
  namespaceLabels: {},
  clusterRetentions: [],
  retentions: [],
  schedules: [],
  requests: [],
  builtIn: {},
  ...more,
});
const around = (checkpoints: Checkpoint[], more: Partial<RetentionInput> = {}): RetentionInput => ({
  checkpoints,
  pods: [sketchPod()],
  restores: [],
  downloads: [],
  now: NOW,
  rules: [],
  ...more,
});
/** Names of what goes, sorted, when a CheckpointRetention says that. */
const gone = (
  rules: RetentionRules,
  checkpoints: Checkpoint[],
  more: Partial<RetentionInput> = {},
): string[] =>
  decideRetention(
    around(checkpoints, { rules: rulesOf(sources({ retentions: [retention(rules)] })), ...more }),
  )
    .removals.map(({ checkpoint }) => checkpoint.metadata.name)
    .sort();
const names = (plan: ReturnType<typeof decideRetention>): string[] =>
  plan.removals.map(({ checkpoint }) => checkpoint.metadata.name).sort();

/** One an hour, a0 the newest. */
const hourly = (n: number, of: Sketch = {}, prefix = "a"): Checkpoint[] =>
  Array.from({ length: n }, (_, i) => sketch(`${prefix}${i}`, { ...of, age: i + (of.age ?? 0) }));

describe("a policy", () => {
  test.each<[string, RetentionRules, Checkpoint[], string[]]>([
    ["that says nothing lets nothing go", {}, hourly(5), []],
    ["keeps the newest so many", { keepLast: 3 }, hourly(5), ["a3", "a4"]],
    ["has an age", { maxAge: "3h" }, hourly(6), ["a4", "a5"]],
    ["has a number", { maxCount: 4 }, hourly(6), ["a4", "a5"]],
    ["has a sum of bytes", { maxTotalSize: "3Gi" }, hourly(6), ["a3", "a4", "a5"]],
    [
      "has a size, in the unit that it is written in",
      { maxCheckpointSize: "10Gi" },
      [
        ...hourly(2),
        sketch("big", { age: 5, bytes: 10 * GIB + 1 }),
        sketch("fits", { age: 6, bytes: 10 * GIB }),
      ],
      ["big"],
    ],
    [
      "keeps the newest of each day, however many there are",
      { keepDaily: 2 },
      [sketch("a", { age: 0 }), sketch("b", { age: 1 }), sketch("c", { age: 13 }), sketch("d", { age: 14 })],
      ["d"],
    ],
    [
      "keeps the newest of each hour",
      { keepHourly: 3 },
      [0, 0.1, 0.2, 1, 1.1, 2, 2.1].map((age, i) => sketch(`a${i}`, { age })),
      ["a2", "a4", "a6"],
    ],
    [
      "keeps the newest of each week, which begins on Monday",
      { keepWeekly: 2 },
      // 2 March 2026 is a Monday.
      [
        sketch("mon", { age: 1 }),
        sketch("mon0", { age: 2 }),
        sketch("sun", { age: 13 }),
        sketch("sat", { age: 40 }),
      ],
      ["sat"],
    ],
    [
      "counts per container of each pod that is there",
      { keepLast: 2 },
      [...hourly(3), ...hourly(3, { pod: "web-1" }, "b"), ...hourly(3, { container: "side" }, "c")],
      ["a2", "b2", "c2"],
    ],
    [
      "counts per workload",
      { maxCount: 4, per: "Workload" },
      [...hourly(3), ...hourly(3, { pod: "web-1" }, "b")],
      ["a2", "b2"],
    ],
    [
      "counts per namespace",
      { maxCount: 5, per: "Namespace" },
      [...hourly(3), ...hourly(3, { pod: "web-1", workload: "db" }, "b")],
      ["a2"],
    ],
    [
      "has a limit that holds over what it keeps",
      { keepLast: 5, maxCount: 3 },
      hourly(6),
      ["a3", "a4", "a5"],
    ],
    [
      "does not count failures as what it keeps",
      { keepLast: 3 },
      [sketch("f", { state: "failed" }), ...hourly(4, { age: 1 })],
      ["a3"],
    ],
    [
      "lets failures go that a good one came after",
      { keepLast: 2 },
      [...hourly(2), sketch("f", { state: "failed", age: 3 })],
      ["f"],
    ],
    [
      "lets failures go before what is good",
      { maxCount: 3 },
      [...hourly(3, { age: 1 }), sketch("f", { state: "failed" })],
      ["f"],
    ],
    [
      "leaves one alone that is not finished",
      { keepLast: 2, maxAge: "1h" },
      [...hourly(2), sketch("u", { state: "unfinished", age: 9 })],
      [],
    ],
  ])("%s", (_, rules, checkpoints, expected) => {
    const pods = [sketchPod("web-0"), sketchPod("web-1")];
    expect(gone(rules, checkpoints, { pods })).toEqual(expected);
  });

  test("is about what its selector selects, by what was recorded, and nothing that is only named alike", () => {
    const selector = { matchLabels: { pod: "team" } };
    const [mine, others] = [hourly(3, { pod: "team" }), hourly(3, { pod: "team-prod" }, "b")];
    const pods = [sketchPod("team"), sketchPod("team-prod")];
    const rules = rulesOf(sources({ retentions: [retention({ selector, keepLast: 2 })] }));
    expect(names(decideRetention(around([...mine, ...others], { pods, rules })))).toEqual(["a2"]);
  });

  test("counts the pods of a workload that are gone as one", () => {
    const old = [1, 2, 3, 4].map((n) => sketch(`old${n}`, { pod: `web-x${n}`, age: n * 24 * 8 }));
    // Each is the last of its pod: of as many as there are pods that is kept, and nothing more.
    expect(gone({ keepLast: 2 }, [...hourly(2), ...old])).toEqual(["old3", "old4"]);
  });

  test("lets what pods that are gone have left go, where it says so", () => {
    const left = hourly(3, { pod: "web-x" }, "b");
    expect(gone({ retainOrphan: false }, [...hourly(3), ...left])).toEqual(["b1", "b2"]);
  });

  test("puts what lies on a node short of disk first, and else the oldest", () => {
    const checkpoints = [...hourly(4), ...hourly(4, { node: "full", container: "side" }, "b")];
    const rules = rulesOf(sources({ retentions: [retention({ keepLast: 2 })] }));
    const { removals } = decideRetention(around(checkpoints, { rules, pressed: new Set(["full"]) }));
    expect(removals.map(({ checkpoint }) => checkpoint.metadata.name)).toEqual(["b3", "b2", "a3", "a2"]);
  });

  test("tells how much goes, why, and by whose word", () => {
    const rules = rulesOf(sources({ retentions: [retention({ maxAge: "3h" }, "days")] }));
    const { removals, matched } = decideRetention(around(hourly(5), { rules }));
    expect(removals).toMatchObject([
      { policy: "CheckpointRetention/days", why: "it is older than 3h", bytes: GIB },
    ]);
    expect(matched.get("CheckpointRetention/days")).toEqual({ count: 5, bytes: 5 * GIB });
  });
});

test("a request may say how long its Checkpoint is kept; nobody else's goes by that", () => {
  const own = hourly(4, { onDemand: true });
  for (const c of own.slice(0, 3)) c.metadata.ownerReferences = [{ uid: "r" } as never];
  const requests = [{ metadata: { name: "r", uid: "r" }, spec: { ttl: "1h" } } as never];
  const plan = decideRetention(around(own, { rules: rulesOf(sources({ requests })) }));
  expect(names(plan)).toEqual(["a2"]);
});

describe("several policies", () => {
  const decided = (checkpoints: Checkpoint[], more: Partial<Sources>): string[] =>
    names(decideRetention(around(checkpoints, { rules: rulesOf(sources(more)) })));

  test("keep what any of them keeps", () => {
    const retentions = [retention({ keepLast: 2 }, "a"), retention({ keepDaily: 2 }, "b")];
    expect(decided(hourly(20), { retentions })).not.toContain("a13");
    expect(decided(hourly(20), { retentions })).toHaveLength(17);
  });

  test("all have their limits kept: a wider one in the namespace does not lift the cluster's", () => {
    const clusterRetentions = [cluster({ ceilings: { maxCount: 3 } })];
    const retentions = [retention({ maxCount: 10, keepLast: 10 })];
    const schedules = [schedule("web", { retention: { keepLast: 9 } })];
    expect(decided(hourly(6), { clusterRetentions, retentions, schedules })).toEqual(["a3", "a4", "a5"]);
    expect(decided(hourly(6), { clusterRetentions, retentions: [retention({ maxCount: 2 })] })).toHaveLength(
      4,
    );
  });

  test("in a namespace take the place of defaults, each on the question that it answers", () => {
    const clusterRetentions = [cluster({ defaults: { keepLast: 2, maxAge: "5h" } })];
    expect(decided(hourly(8), { clusterRetentions })).toHaveLength(6);
    // How many is answered, how old is not.
    const schedules = [schedule("web", { retention: { keepLast: 9 } })];
    expect(decided(hourly(8), { clusterRetentions, schedules })).toEqual(["a6", "a7"]);
  });

  test("of one namespace do not concern another's", () => {
    const clusterRetentions = [
      cluster({ namespaceSelector: { matchLabels: { tier: "test" } }, ceilings: { maxCount: 2 } }),
    ];
    expect(decided(hourly(4), { clusterRetentions })).toEqual([]);
    expect(decided(hourly(4), { clusterRetentions, namespaceLabels: undefined })).toEqual([]);
    expect(decided(hourly(4), { clusterRetentions, namespaceLabels: { tier: "test" } })).toEqual([
      "a2",
      "a3",
    ]);
  });

  test("leave checkpoints on demand to policies that mean them", () => {
    const onDemand = hourly(6, { onDemand: true });
    expect(decided(onDemand, { builtIn: { keepLast: 2 } })).toEqual([]);
    expect(decided(hourly(6), { builtIn: { keepLast: 2 } })).toHaveLength(4);
    expect(decided(onDemand, { clusterRetentions: [cluster({ defaults: { keepLast: 2 } })] })).toEqual([]);
    expect(decided(onDemand, { retentions: [retention({ keepLast: 2 })] })).toHaveLength(4);
  });

  test("of the defaults are not about what a schedule left behind", () => {
    const left = hourly(6).map((c) => ({ ...c, metadata: { ...c.metadata, ownerReferences: [] } }));
    const builtIn = { keepLast: 2 };
    expect(decided(left, { builtIn })).toEqual([]);
    expect(decided(left, { builtIn, schedules: [schedule("web", {})] })).toHaveLength(4);
  });

  test("may stand in annotations; what cannot be meant there says nothing", () => {
    const annotated = (annotations: object) => ({ schedules: [schedule("web", {}, annotations)] });
    expect(decided(hourly(4), annotated({ "kcr.io/keep-last": "2" }))).toEqual(["a2", "a3"]);
    expect(decided(hourly(4), annotated({ "kcr.io/max-age": "1h" }))).toEqual(["a2", "a3"]);
    for (const text of ["0", "-1", "all", "2.5"]) {
      expect(decided(hourly(4), annotated({ "kcr.io/keep-last": text }))).toEqual([]);
    }
    for (const text of ["0s", "10", "7d"])
      expect(decided(hourly(4), annotated({ "kcr.io/max-age": text }))).toEqual([]);
  });
});

/** By this everything goes that may. */
const NOTHING: RetentionRules = { maxCount: 0, mayRemoveAll: true };

describe("whatever a policy says, there stays", () => {
  test.each<[string, Checkpoint[], Partial<RetentionInput>, string[]]>([
    ["the newest good one of a container that is there, and one older", hourly(4), {}, ["a0", "a1"]],
    [
      "an older good one, though the newest are of a program that hangs, or crash",
      [sketch("p", { state: "poisoned" }), sketch("f", { state: "failed" }), ...hourly(3, { age: 1 })],
      {},
      ["a0", "a1"],
    ],
    [
      "what is pinned",
      [...hourly(2), sketch("pin", { age: 9, annotations: { "kcr.io/pinned": "true" } })],
      {},
      ["a0", "a1", "pin"],
    ],
    [
      "what a restore uses, and what it saved",
      [...hourly(2), sketch("back", { age: 9 }), sketch("saved", { age: 5 }), sketch("other", { age: 6 })],
      {
        restores: [
          {
            metadata: { name: "r" },
            spec: { checkpointName: "back" },
            status: { phase: "Restoring", savedCheckpoint: "saved" },
          } as CheckpointRestore,
        ],
      },
      ["a0", "a1", "back", "saved"],
    ],
    [
      "what somebody downloads",
      [...hourly(2), sketch("d", { age: 9 })],
      { downloads: [{ metadata: { name: "d" }, spec: { checkpointName: "d" } } as CheckpointDownload] },
      ["a0", "a1", "d"],
    ],
    [
      "what a pod is to begin with",
      [...hourly(2), sketch("d", { age: 9 })],
      { pods: [sketchPod(), sketchPod("new", { annotations: { "kcr.io/restore-from": "d" } } as object)] },
      ["a0", "a1", "d"],
    ],
    [
      "what a container was last taken back to, and would be again",
      [...hourly(3), sketch("back", { age: 9, status: { lastRestoredTime: "2026-03-02T11:00:00Z" } })],
      {},
      ["a0", "a1", "back"],
    ],
    [
      "the last of a state that was lost when the container began afresh",
      [...hourly(2, { run: "new" }), ...hourly(3, { run: "old", age: 5 }, "b")],
      { pods: [sketchPod("web-0", { run: "new" })] },
      ["a0", "a1", "b0"],
    ],
    ["the last of a pod that is gone", hourly(3, { pod: "web-x" }, "b"), { pods: [] }, ["b0"]],
    [
      "what does not say whose it is",
      [...hourly(2), sketch("x", { age: 9, status: { lineage: undefined } })],
      {},
      ["a0", "a1", "x"],
    ],
  ])("%s", (_, checkpoints, more, stays) => {
    const goes = new Set(gone(NOTHING, checkpoints, more));
    expect(
      checkpoints
        .map(({ metadata }) => metadata.name)
        .filter((name) => !goes.has(name))
        .sort(),
    ).toEqual(stays);
  });

  const lost = (age: number, status = "True", reason = "FreshStart", annotations = {}) =>
    hourly(
      2,
      {
        run: "old",
        age: 300,
        annotations,
        status: {
          conditions: [
            {
              type: "Restorable",
              status: "True",
              reason: "X",
              message: "",
              lastTransitionTime: NOW.toISOString(),
            },
            {
              type: "LineageLost",
              status,
              reason,
              message: "",
              lastTransitionTime: new Date(NOW.getTime() - age * 86_400_000).toISOString(),
            },
          ],
        },
      },
      "b",
    );

  test("a lost state for seven days, unless its program ended by itself or a person released it", () => {
    const now = (of: Checkpoint[]) => gone(NOTHING, [...hourly(2), ...of]);
    expect(now(lost(6.9))).toEqual(["b1"]);
    expect(now(lost(7))).toEqual(["b0", "b1"]);
    expect(now(lost(0, "False", "Ended"))).toEqual(["b0", "b1"]);
    expect(now(lost(1, "True", "FreshStart", { "kcr.io/released": "true" }))).toEqual(["b0", "b1"]);
  });

  test("a lost state is marked as such on each of its Checkpoints, once", () => {
    const marks = (of: Checkpoint[], pod = sketchPod()) =>
      protectedOf(around([...hourly(1), ...of], { pods: [pod] })).marks.map(
        ({ checkpoint, status, reason }) => `${checkpoint.metadata.name} ${status} ${reason}`,
      );
    expect(marks(hourly(2, { run: "old", age: 9 }, "b"))).toEqual([
      "b0 True FreshStart",
      "b1 True FreshStart",
    ]);
    expect(marks(lost(1))).toEqual([]);
    // Lived on from again.
    expect(marks(lost(1), sketchPod("web-0", { run: "old" })).sort()).toEqual([
      "a0 True FreshStart",
      "b0 False Alive",
      "b1 False Alive",
    ]);
    const ended = sketchPod();
    ended.status!.containerStatuses![0]!.lastState = {
      terminated: { exitCode: 0, containerID: "containerd://old" },
    } as never;
    expect(marks(hourly(1, { run: "old", age: 9 }, "b"), ended)).toEqual(["b0 False Ended"]);
    // What it was restored from may not be written down yet.
    const young = sketchPod();
    young.status!.containerStatuses![0]!.state!.running!.startedAt = NOW.toISOString();
    expect(marks(hourly(1, { run: "old", age: 9 }, "b"), young)).toEqual([]);
    expect(
      gone(NOTHING, [...hourly(2), ...hourly(1, { run: "old", age: 9 }, "b")], { pods: [young] }),
    ).toEqual([]);
    // What is known of it already stays known, or its seven days would begin anew with each crash.
    expect(marks(lost(1), young)).toEqual([]);
  });

  test("nothing is lost of a pod that is gone and goes on in another", () => {
    const moved = hourly(2, { pod: "web-x", run: "before", age: 5 }, "b");
    const marks = (metadata: object) =>
      protectedOf(around(moved, { pods: [sketchPod("web-0", metadata as object)] })).marks.length;
    expect(marks({})).toBe(2);
    expect(marks({ annotations: { "kcr.io/restore-from": "b1" } })).toBe(0);
  });

  const stateful = (n: number, of: Sketch = {}): Checkpoint[] =>
    hourly(3, { pod: `db-${n}`, workload: "db-statefulset", ...of }, `db${n}-`).map((c) => {
      c.metadata.labels!["statefulset.kubernetes.io/pod-name"] = `db-${n}`;
      return c;
    });

  test("of a StatefulSet that was scaled down, or whose pods are made anew, what each of its pods had", () => {
    const all = [...stateful(0), ...stateful(1, { age: 30 }), ...stateful(2, { age: 60 })];
    expect(gone(NOTHING, all, { pods: [] })).toEqual(["db0-1", "db0-2", "db1-1", "db1-2", "db2-1", "db2-2"]);
    expect(gone({ keepLast: 2 }, all, { pods: [] })).toEqual(["db0-2", "db1-2", "db2-2"]);
    const anew = Array.from({ length: 3 }, (_, i) =>
      stateful(0, { run: `r${i}`, age: i, status: { lineage: { podUID: `u${i}`, containerID: `r${i}` } } }),
    ).flatMap((own, i) =>
      own.map((c) => ({ ...c, metadata: { ...c.metadata, uid: `${c.metadata.uid}-${i}` } })),
    );
    expect(gone(NOTHING, [...anew, ...stateful(1, { age: 90 })], { pods: [] })).not.toContain("db1-0");
  });

  test("of a workload that was scaled to none, what each pod had that went with the last", () => {
    const old = [0, 0.2, 1, 5].map((age, n) => sketch(`old${n}`, { pod: `web-x${n}`, age }));
    expect(gone(NOTHING, old, { pods: [] })).toEqual(["old3"]);
  });

  test("of pods that nobody knows the workload of, what each had", () => {
    const old = ["a", "b"].map((pod, i) => {
      const one = sketch(pod, { pod, age: 9 * i });
      delete one.metadata.labels!["kcr.io/workload"];
      return one;
    });
    expect(gone(NOTHING, old, { pods: [] })).toEqual([]);
  });

  test("what is said to be of the future, and it pushes nothing of now out", () => {
    const ahead = [1, 2, 3].map((n) => sketch(`ahead${n}`, { age: -8760 * n }));
    expect(gone({ keepLast: 3 }, [...ahead, ...hourly(5)])).toEqual(["a3", "a4"]);
    expect(gone(NOTHING, [...ahead, ...hourly(5)])).toEqual(["a2", "a3", "a4"]);
  });

  test("what does not say which pod it is of, for nobody knows whether that is gone", () => {
    const all = hourly(3);
    delete all[2]!.metadata.labels!["pod"];
    expect(gone({ retainOrphan: false, ...NOTHING }, all)).toEqual([]);
  });

  test("what a person pinned in another word", () => {
    expect(gone(NOTHING, hourly(4, { annotations: { "kcr.io/pinned": "yes" } }))).toEqual([]);
    expect(gone(NOTHING, hourly(4, { annotations: { "kcr.io/pinned": "false" } }))).toHaveLength(2);
  });

  test("what a record names that a later version wrote", () => {
    const record = JSON.stringify({ app: { version: 99, podUID: "uid-web-0", from: { which: "a3" } } });
    const pods = [sketchPod("web-0", { annotations: { "kcr.io/restore-record": record } } as object)];
    expect(gone(NOTHING, hourly(5), { pods })).toEqual(["a2", "a4"]);
  });

  test("of pods that are gone as many as the workload has, one at least", () => {
    const old = [1, 2, 3, 4].map((n) => sketch(`old${n}`, { pod: `web-x${n}`, age: n }));
    const live = [sketch("n0", { pod: "web-0" }), sketch("n1", { pod: "web-1" })];
    const pods = [sketchPod("web-0"), sketchPod("web-1")];
    expect(gone(NOTHING, [...old, ...live], { pods })).toEqual(["old3", "old4"]);
  });
});

test("an age of a million years ends at no date, and hides no other", () => {
  const schedules = (maxAge: string) => [schedule("web", {}, { "kcr.io/max-age": maxAge })];
  const next = (maxAge: string) =>
    decideRetention(around(hourly(1), { rules: rulesOf(sources({ schedules: schedules(maxAge) })) }))
      .nextChange;
  expect(next("99999999999999999h")).toBeUndefined();
  expect(next("2h")).toEqual(new Date(NOW.getTime() + 2 * 3_600_000 + 1));
});

test("twenty thousand checkpoints of four thousand workloads are no long work", () => {
  const numbers = Array.from({ length: 4_000 }, (_, n) => n);
  const all = numbers.flatMap((n) => hourly(5, { pod: `p${n}`, workload: `w${n}` }, `c${n}-`));
  const schedules = numbers.map((n) => schedule(`w${n}`, {}, { "kcr.io/keep-last": "3" }));
  const input = around(all, {
    pods: numbers.map((n) => sketchPod(`p${n}`)),
    rules: rulesOf(sources({ schedules, builtIn: { keepLast: 2 } })),
  });
  const since = performance.now();
  expect(decideRetention(input).removals).toHaveLength(8_000);
  // Half a second; half a minute when each pod is compared with each Checkpoint.
  expect(performance.now() - since).toBeLessThan(4_000);
});

describe("of anything that there may be", () => {
  const state = fc.constantFrom("good", "good", "good", "failed", "poisoned", "unfinished");
  const one = fc.record({
    pod: fc.constantFrom("web-0", "web-1", "gone-1", "gone-2"),
    container: fc.constantFrom("app", "side"),
    run: fc.constantFrom("r1", "r2", "r3"),
    age: fc.integer({ min: 0, max: 500 }),
    bytes: fc.integer({ min: 0, max: 4 * GIB }),
    state,
    onDemand: fc.boolean(),
    pinned: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
  });
  const some = fc.array(one, { maxLength: 25 }).map((all) =>
    all.map(({ pinned, run, ...of }, i) =>
      sketch(`c${i}`, {
        ...(of as Sketch),
        run: `${of.pod}-${of.container}-${run}`,
        annotations: pinned ? { "kcr.io/pinned": "true" } : {},
      }),
    ),
  );
  const number = fc.option(fc.integer({ min: 0, max: 5 }), { nil: undefined });
  const policy = fc.record({
    keepLast: number,
    keepHourly: number,
    keepDaily: number,
    maxCount: number,
    maxAge: fc.constantFrom(undefined, "0s", "24h", "200h"),
    maxTotalSize: fc.constantFrom(undefined, "0", "2Gi", "10Gi"),
    maxCheckpointSize: fc.constantFrom(undefined, "1Gi"),
    retainOrphan: fc.constantFrom(undefined, false),
    per: fc.constantFrom("Container", "Pod", "Workload", "Namespace"),
  });
  const input = fc
    .record({
      checkpoints: some,
      ceilings: policy,
      policies: fc.array(policy, { maxLength: 3 }),
      restored: fc.nat(),
    })
    .map(({ checkpoints, ceilings, policies, restored }) => {
      const retentions = policies.map((rules, i) => retention(rules, `p${i}`));
      const clusterRetentions = [cluster({ ceilings, defaults: ceilings })];
      const used = checkpoints[restored % Math.max(1, checkpoints.length)]?.metadata.name ?? "none";
      return around(checkpoints, {
        rules: rulesOf(sources({ retentions, clusterRetentions, builtIn: { keepLast: 3 } })),
        pods: ["web-0", "web-1"].map((name) => sketchPod(name, { run: `${name}-app-r1` })),
        restores: [{ metadata: { name: "r" }, spec: { checkpointName: used } } as CheckpointRestore],
      });
    });
  const check = (property: (input: RetentionInput) => void) =>
    fc.assert(fc.property(input, property), { numRuns: 400 });
  const newest = (all: Checkpoint[]): Checkpoint | undefined =>
    all.toSorted((a, b) => (a.spec.checkpointTimestamp < b.spec.checkpointTimestamp ? 1 : -1))[0];
  const isSound = ({ status }: Checkpoint) =>
    status?.conditions?.some((c) => c.type === "Restorable" && c.status === "True") === true &&
    !status.conditions.some((c) => c.type === "Poisoned");

  test("never the newest good one of a live container goes, nor one pinned, used or unfinished", () => {
    check((one) => {
      const goes = new Set(decideRetention(one).removals.map(({ checkpoint }) => checkpoint));
      for (const checkpoint of goes) {
        expect(checkpoint.metadata.annotations).toEqual({});
        expect(checkpoint.metadata.name).not.toBe(one.restores[0]?.spec.checkpointName);
        expect(checkpoint.status?.phase).not.toBe("Processing");
      }
      for (const pod of ["web-0", "web-1"]) {
        for (const container of ["app", "side"]) {
          const own = one.checkpoints.filter(
            ({ metadata, spec }) => metadata.labels?.["pod"] === pod && spec.containerName === container,
          );
          const sound = own.filter(isSound);
          const last = newest(sound);
          const left = sound.filter((c) => !goes.has(c));
          if (last !== undefined) expect(left.map(takenAt)).toContain(takenAt(last));
          expect(left.length).toBeGreaterThanOrEqual(Math.min(2, sound.length));
        }
      }
    });
  });

  test("the same input gives the same plan, in whatever order it comes", () => {
    check((one) => {
      const turned = { ...one, checkpoints: one.checkpoints.toReversed(), rules: one.rules.toReversed() };
      const told = (of: RetentionInput) =>
        decideRetention(of).removals.map(({ checkpoint, why, policy }) => [
          checkpoint.metadata.name,
          why,
          policy,
        ]);
      expect(told(turned)).toEqual(told(one));
    });
  });

  test("once it is carried out nothing more goes, and what stays exceeds a limit only by what must stay", () => {
    check((one) => {
      const plan = decideRetention(one);
      const goes = new Set(plan.removals.map(({ checkpoint }) => checkpoint));
      const left = one.checkpoints.filter((c) => !goes.has(c));
      expect(names(decideRetention({ ...one, checkpoints: left }))).toEqual([]);
    });
  });

  test("nothing goes that no policy is about", () => {
    check((one) => {
      const rules = one.rules.map((rule) => ({ ...rule, selects: () => false }));
      expect(names(decideRetention({ ...one, rules }))).toEqual([]);
    });
  });

  test("of what goes for a number or a sum, not one could have stayed", () => {
    check((one) => {
      const { removals } = decideRetention(one);
      const goes = new Set(removals.map(({ checkpoint }) => checkpoint));
      const left = one.checkpoints.filter((c) => !goes.has(c));
      for (const { checkpoint, why } of removals) {
        if (!/more than/.test(why) || /^it has/.test(why)) continue;
        const again = decideRetention({ ...one, checkpoints: [...left, checkpoint] });
        expect(again.removals.length).toBeGreaterThan(0);
      }
    });
  });

  const takenAt = ({ spec }: Checkpoint) => spec.checkpointTimestamp;
});
