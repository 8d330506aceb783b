import { describe, expect, it } from "vitest";
import type { Checkpoint } from "../../api/checkpoint.ts";
import type { Pod } from "../../kube/resources.ts";
import { containersWanted, failureOf } from "./take.ts";
import { placesOf, stateOf } from "./view.ts";

const pod = (name: string, containers: string[], annotations = {}): Pod =>
  ({ metadata: { name, annotations }, spec: { containers: containers.map((c) => ({ name: c })) } }) as Pod;

describe("containers that are wanted", () => {
  const pods = [
    pod("a", ["app", "side"], { "kubectl.kubernetes.io/default-container": "side" }),
    pod("b", ["app"]),
  ];
  const wanted = (options: { containers?: string[]; all?: boolean }) =>
    containersWanted(pods, options).map((one) => `${one.pod}/${one.container}`);

  it("are each pod's own, all, or those that are named", () => {
    expect(wanted({})).toEqual(["a/side", "b/app"]);
    expect(wanted({ all: true })).toEqual(["a/app", "a/side", "b/app"]);
    expect(wanted({ containers: ["side"] })).toEqual(["a/side"]);
  });

  it("that no pod has are an error that says which there are", () => {
    expect(() => wanted({ containers: ["nosuch"] })).toThrow(
      /no container nosuch in these pods, but app, side/,
    );
  });
});

describe("a Checkpoint", () => {
  const checkpoint = (status: object, metadata: object = {}) =>
    ({ metadata: { name: "c", ...metadata }, spec: { nodeName: "n1" }, status }) as unknown as Checkpoint;
  const restorable = (status: string, reason: string) => ({
    conditions: [{ type: "Restorable", status, reason, message: `because of ${reason}` }],
  });

  it.each([
    [checkpoint({}), "Created"],
    [checkpoint({ phase: "Processing" }), "Processing"],
    [checkpoint(restorable("True", "ImageVerified")), "Good"],
    [checkpoint(restorable("False", "CheckpointFailed")), "Failed"],
    [checkpoint({ phase: "Failed" }), "Failed"],
    [checkpoint(restorable("True", "X"), { deletionTimestamp: "now" }), "Terminating"],
    [checkpoint({ conditions: [{ type: "Poisoned", status: "True" }] }), "Poisoned"],
  ])("is in one state", (object, state) => {
    expect(stateOf(object)).toBe(state);
  });

  it("that is not good says why, with the code", () => {
    expect(failureOf(checkpoint({}))).toBeUndefined();
    expect(failureOf(checkpoint(restorable("True", "X")))).toBeUndefined();
    expect(failureOf(checkpoint(restorable("False", "CheckpointFailed")))).toMatchObject({
      code: "CheckpointFailed",
      message: "Checkpoint c is not good: because of CheckpointFailed",
    });
    // A reason of a newer kcr.
    expect(failureOf(checkpoint(restorable("False", "NoSuchCode")))?.code).toBe("Internal");
  });

  it("lies where its copies are", () => {
    const copies = [
      { kind: "Registry", image: "r/x" },
      { kind: "Node", node: "n1" },
      { kind: "Node", node: "n2" },
    ];
    expect(placesOf(checkpoint({ copies }))).toBe("n1, n2, registry");
    expect(placesOf(checkpoint({}))).toBe("n1");
  });
});
