import { describe, expect, it } from "vitest";
import type { Checkpoint, Origin } from "./checkpoint.ts";
import { lineageOf, originOf } from "./lineage.ts";

/** A Checkpoint `name` taken at minute `minute` of run `restartCount`, restored from `parent`. */
const taken = (
  name: string,
  minute: number,
  restartCount: number,
  parent?: string,
  container = "app",
): Checkpoint => ({
  metadata: { name, namespace: "shop" },
  spec: {
    checkpointData: "checkpoint.tar",
    checkpointTimestamp: new Date(Date.UTC(2026, 0, 1, 0, minute)).toISOString(),
    checkpointID: name,
    containerName: container,
    nodeName: "worker",
  },
  status: { lineage: { podUID: "pod", containerID: `c${restartCount}`, restartCount, parent } },
});
const namesOf = (
  { restartCount, ...run }: { restartCount: number; parent?: string; parentOrigin?: Origin },
  all: Checkpoint[],
  container = "app",
) =>
  lineageOf({ podUID: "pod", container, containerID: `c${restartCount}`, ...run }, all).map(
    (c) => c.metadata.name,
  );

describe("the lineage of a run", () => {
  it("is its own checkpoints, newest first, then what it was restored from and its ancestors", () => {
    const all = [taken("a1", 1, 0), taken("a2", 2, 0), taken("b1", 3, 2, "a2"), taken("b2", 4, 2, "a2")];
    expect(namesOf({ restartCount: 2, parent: "a2" }, all)).toEqual(["b2", "b1", "a2", "a1"]);
  });

  it("never holds the checkpoint of an empty container that came up after the crash", () => {
    const all = [taken("real", 1, 0), taken("empty", 2, 1)];
    expect(namesOf({ restartCount: 0 }, all)).toEqual(["real"]);
    expect(namesOf({ restartCount: 2, parent: "real" }, all)).toEqual(["real"]);
  });

  it("goes back to the same older one after a person went back to it", () => {
    const all = [taken("a1", 1, 0), taken("a2", 2, 0), taken("a3", 3, 0)];
    expect(namesOf({ restartCount: 4, parent: "a1" }, all)).toEqual(["a1"]);
    expect(namesOf({ restartCount: 4, parent: "a2" }, all)).toEqual(["a2", "a1"]);
  });

  it("spans generations and ends at a fresh start", () => {
    const all = [taken("a", 1, 0), taken("b", 2, 2, "a"), taken("c", 3, 4, "b"), taken("fresh", 4, 5)];
    expect(namesOf({ restartCount: 6, parent: "c" }, all)).toEqual(["c", "b", "a"]);
    expect(namesOf({ restartCount: 5 }, all)).toEqual(["fresh"]);
  });

  it("goes on to the ancestors of a parent that was deleted", () => {
    const [a1, a2, b1] = [taken("a1", 1, 0), taken("a2", 2, 0), taken("b1", 3, 2, "a2")];
    const parentOrigin = originOf(a2);
    expect(namesOf({ restartCount: 2, parent: "a2", parentOrigin }, [a1])).toEqual(["a1"]);
    b1.status!.lineage!.parentOrigin = parentOrigin;
    expect(namesOf({ restartCount: 4, parent: "b1" }, [a1, b1])).toEqual(["b1", "a1"]);
  });

  it("is told by containers, not by restart counts that may begin anew", () => {
    const old = taken("old", 1, 0);
    const later = taken("later", 2, 0);
    later.status!.lineage!.containerID = "another";
    expect(namesOf({ restartCount: 0 }, [old, later])).toEqual(["old"]);
  });

  it("is of one container and one pod only", () => {
    const all = [taken("app1", 1, 0), taken("side1", 2, 0, undefined, "side")];
    expect(namesOf({ restartCount: 0 }, all, "side")).toEqual(["side1"]);
    expect(lineageOf({ podUID: "other", container: "app", containerID: "c0" }, all)).toEqual([]);
  });

  it("goes on in the pod that the state was taken over from, and not in others of that pod", () => {
    const elsewhere = (c: Checkpoint): Checkpoint => {
      c.status!.lineage!.podUID = "other";
      return c;
    };
    const all = [taken("a1", 1, 0), taken("a2", 2, 0), taken("a3", 3, 0), taken("z", 4, 7)].map(elsewhere);
    const run = { podUID: "pod", container: "app", containerID: "c8" };
    const names = (more: object) => lineageOf({ ...run, ...more }, all).map((c) => c.metadata.name);
    expect(names({ parent: "a2" })).toEqual(["a2", "a1"]);
    expect(names({ containerID: "c0" })).toEqual([]);
    all.push(taken("mine", 5, 8, "a2"));
    expect(names({ parent: "a2" })).toEqual(["mine", "a2", "a1"]);
    expect(names({ containerID: "c9", parent: "mine" })).toEqual(["mine", "a2", "a1"]);
  });

  it("does not come back to what was saved before a person went back, whatever crashes later", () => {
    const all = [taken("old", 1, 0), taken("saved", 2, 0), taken("since", 4, 1, "old")];
    expect(namesOf({ restartCount: 1, parent: "old" }, all)).toEqual(["since", "old"]);
    expect(namesOf({ restartCount: 2, parent: "since" }, all)).toEqual(["since", "old"]);
    expect(namesOf({ restartCount: 2, parent: "old" }, all)).toEqual(["old"]);
  });

  it("ends where hostile records make a cycle", () => {
    const all = [taken("a", 1, 1, "b"), taken("b", 2, 2, "a")];
    expect(namesOf({ restartCount: 9, parent: "a" }, all)).toEqual(["a", "b"]);
  });
});
