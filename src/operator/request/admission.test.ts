import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ACCEPTED, chooseAdmitted, chooseTold, isUnderWay, isWaiting, type Waiting } from "./admission.ts";

const waiting = (
  name: string,
  more: Partial<Waiting> & { asked?: true; namespace?: string } = {},
): Waiting => ({
  request: {
    metadata: { name, namespace: more.namespace, uid: name, creationTimestamp: "2026-01-01T00:00:00Z" },
    spec: {
      podReference: { name: "web" },
      ...(more.asked ? {} : { checkpointScheduleRef: { apiVersion: "v1", kind: "S", name: "s" } }),
    },
  },
  node: more.node ?? "a",
  savedTime: more.savedTime,
  ...(more.isNodeDown && { isNodeDown: true }),
});
const names = (some: readonly Waiting[]) => some.map(({ request }) => request.metadata.name);
const limits = { perCluster: 3, perNode: 2 };

describe("a request", () => {
  const { request } = waiting("one");
  const given = { ...request, status: { nodeName: "a" } };
  const places = (one: typeof given | typeof request) => [isWaiting(one), isUnderWay(one)];

  it("waits until an agent has it, and is under way until it has ended", () => {
    expect(places(request)).toEqual([true, false]);
    expect(places(given)).toEqual([false, true]);
    expect(places({ ...given, status: { nodeName: "a", phase: "Failed" } })).toEqual([false, false]);
  });
  it("that is being deleted, and kept by a finalizer, holds no place", () => {
    const going = { ...request.metadata, deletionTimestamp: "2026-01-01T00:00:00Z", finalizers: ["a/b"] };
    expect(places({ ...request, metadata: going })).toEqual([false, false]);
    expect(places({ ...given, metadata: going })).toEqual([false, false]);
  });
});

describe("of the requests that wait", () => {
  it("those of people go first, then the workloads without any state, then the oldest state", () => {
    const all = [
      waiting("young", { node: "a", savedTime: "2026-01-01T05:00:00Z" }),
      waiting("old", { node: "b", savedTime: "2026-01-01T01:00:00Z" }),
      waiting("none", { node: "c" }),
      waiting("asked", { node: "d", asked: true, savedTime: "2026-01-01T06:00:00Z" }),
    ];
    const { admitted, held } = chooseAdmitted(all, new Map(), limits);
    expect(names(admitted)).toEqual(["asked", "none", "old"]);
    expect(names(held)).toEqual(["young"]);
  });
  it("those of a node that is busy keep no other node waiting", () => {
    const all = [waiting("1"), waiting("2"), waiting("3"), waiting("4", { node: "b" })];
    const { admitted, held } = chooseAdmitted(all, new Map([["a", 1]]), limits);
    expect(names(admitted)).toEqual(["1", "4"]);
    expect(names(held)).toEqual(["2", "3"]);
  });
  it("those of nodes that are down keep no other node waiting, however many and urgent", () => {
    const down = ["a", "b", "c", "d"].map((node) => ({ ...waiting(node, { node }), isNodeDown: true }));
    const one = waiting("one", { node: "e", savedTime: "2026-01-01T00:00:00Z" });
    const { admitted, held } = chooseAdmitted([one, ...down, ...down, ...down], new Map(), limits);
    expect(names(admitted)).toEqual(["a", "a", "b", "b", "c", "c", "d", "d", "one"]);
    expect(held).toHaveLength(4);
  });
  it("as many go as both limits allow, and none that need not wait is held", () => {
    const node = fc.constantFrom("a", "b", "c", undefined);
    const namespace = fc.constantFrom("x", "y", "z");
    const one = fc.record({
      node,
      namespace,
      savedTime: fc.option(fc.constantFrom("1", "2", "3"), { nil: undefined }),
    });
    fc.assert(
      fc.property(
        fc.array(one, { maxLength: 30 }),
        fc.dictionary(fc.constantFrom("a", "b", "c"), fc.integer({ min: 0, max: 3 })),
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: 1, max: 4 }),
        (some, busy, perCluster, perNode) => {
          const all = some.map((w, n) => ({ ...waiting(`${n}`, w), node: w.node }));
          const underWay = new Map(Object.entries(busy));
          const before = [...underWay.values()].reduce((sum, count) => sum + count, 0);
          const { admitted, held } = chooseAdmitted(all, underWay, { perCluster, perNode });
          expect(admitted.length + held.length).toBe(all.length);
          expect(admitted.length).toBeLessThanOrEqual(Math.max(0, perCluster - before));
          const on = (name: string | undefined) => admitted.filter((w) => w.node === name).length;
          for (const name of ["a", "b", "c"]) {
            expect(on(name)).toBeLessThanOrEqual(Math.max(0, perNode - (underWay.get(name) ?? 0)));
          }
          if (before + admitted.length < perCluster) {
            for (const { node } of held) {
              expect(node).toBeDefined();
              expect(on(node) + (underWay.get(node!) ?? 0)).toBeGreaterThanOrEqual(perNode);
            }
          }
        },
      ),
    );
  });
  it("namespaces take turns, each with its most urgent first, whatever another one asks for", () => {
    const many = [1, 2, 3, 4].map((n) =>
      waiting(`people${n}`, { namespace: "p", node: `${n}`, asked: true }),
    );
    const old = waiting("old", { namespace: "s", node: "5", savedTime: "2026-01-01T01:00:00Z" });
    const young = waiting("young", { namespace: "s", node: "6", savedTime: "2026-01-01T05:00:00Z" });
    const all = [young, ...many, old];
    const chosen = (perCluster: number, turns: string[] = []) =>
      names(chooseAdmitted(all, new Map(), { perCluster, perNode: 1 }, turns).admitted);
    expect(chosen(4)).toEqual(["people1", "old", "people2", "young"]);
    // With one place at a time too.
    expect(chosen(1)).toEqual(["people1"]);
    expect(chosen(1, ["p"])).toEqual(["old"]);
    expect(chosen(1, ["p", "s"])).toEqual(["people1"]);
    expect(chosen(1, ["s", "p"])).toEqual(["old"]);
  });
  it("two namespaces that could both fill the cluster have as many places each", () => {
    const some = (namespace: string) =>
      fc
        .array(
          fc.record({
            asked: fc.constantFrom(true as const, undefined),
            savedTime: fc.constantFrom("1", "2"),
          }),
        )
        .map((all) =>
          all.map((more, n) => waiting(`${namespace}${n}`, { ...more, namespace, node: `${namespace}${n}` })),
        );
    fc.assert(
      fc.property(some("a"), some("b"), fc.integer({ min: 1, max: 10 }), (a, b, perCluster) => {
        const { admitted } = chooseAdmitted([...a, ...b], new Map(), { perCluster, perNode: 1 });
        const of = (namespace: string) =>
          admitted.filter(({ request }) => request.metadata.namespace === namespace).length;
        const [fewer, more] = [Math.min(a.length, b.length), Math.max(a.length, b.length)];
        expect(of("a") + of("b")).toBe(Math.min(perCluster, fewer + more));
        // One has more than the other by a turn, or because the other has no more.
        const least = Math.min(fewer, Math.floor(perCluster / 2));
        expect(Math.min(of("a"), of("b"))).toBeGreaterThanOrEqual(least);
      }),
    );
  });
  it("those that wait for long say so once, some at a time, for nobody is looked at meanwhile", () => {
    const held = Array.from({ length: 100 }, (_, n) => waiting(`${n}`));
    const at = (seconds: number) => new Date(Date.parse("2026-01-01T00:00:00Z") + seconds * 1000);
    expect(chooseTold(held, at(4))).toEqual({ told: [], isMore: true });
    const first = chooseTold(held, at(6));
    expect(first).toEqual({ told: held.slice(0, 64), isMore: true });
    for (const { request } of first.told) {
      const said = { type: ACCEPTED, status: "False" as const, reason: "Queued", message: "" };
      request.status = { conditions: [{ ...said, lastTransitionTime: "2026-01-01T00:00:06Z" }] };
    }
    expect(chooseTold(held, at(7))).toEqual({ told: held.slice(64), isMore: false });
  });
  it("says what it waits for now: its node no more, once that is ready", () => {
    const says = (one: Waiting): Waiting => {
      const condition = { type: ACCEPTED, status: "False" as const, reason: "NodeNotReady", message: "" };
      one.request.status = { conditions: [{ ...condition, lastTransitionTime: "2026-01-01T00:00:06Z" }] };
      return one;
    };
    const held = [says(waiting("ready")), says(waiting("down", { isNodeDown: true }))];
    const { told, isMore } = chooseTold(held, new Date("2026-01-01T00:01:00Z"));
    expect([names(told), isMore]).toEqual([["ready"], false]);
  });
});
