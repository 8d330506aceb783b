import { describe, expect, it } from "vitest";
import type { Node } from "../../kube/resources.ts";
import { objectsOf, standingOf } from "./objects.ts";

const node = (name: string, uid = "u1") => ({ metadata: { name, uid } }) as Node;

describe("what is made for a node", () => {
  const { role, binding, account } = objectsOf(node("worker-1"));

  it("gives the node's account the node's checkpoints, and nothing else to anybody", () => {
    expect(role.rules).toEqual([
      { apiGroups: [""], resources: ["nodes/checkpoint"], resourceNames: ["worker-1"], verbs: ["create"] },
    ]);
    expect(binding).toMatchObject({
      metadata: { name: "kcr:node:worker-1" },
      roleRef: { kind: "ClusterRole", name: role.metadata.name },
      subjects: [{ kind: "ServiceAccount", namespace: "kcr-nodes", name: "worker-1" }],
    });
    expect(account.metadata).toMatchObject({ namespace: "kcr-nodes", name: "worker-1" });
  });

  it("has the node's whole name, however long", () => {
    const name = Array(4).fill("a".repeat(62)).join(".").slice(0, 253);
    expect(objectsOf(node(name)).account.metadata.name).toBe(name);
  });

  it("goes with the very node", () => {
    for (const { metadata } of [role, binding, account]) {
      expect(metadata.ownerReferences).toEqual([
        { apiVersion: "v1", kind: "Node", name: "worker-1", uid: "u1" },
      ]);
    }
  });

  it.each([
    ["right", { ...role, metadata: { ...role.metadata, resourceVersion: "7" } }],
    ["going", objectsOf(node("worker-1", "u0")).role],
    ["going", { ...role, metadata: { ...role.metadata, deletionTimestamp: "2026-01-01T00:00:00Z" } }],
    ["changed", { ...role, rules: [{ ...role.rules![0]!, verbs: ["create", "get"] }] }],
    ["changed", { ...role, rules: [] }],
    ["changed", { ...role, metadata: { ...role.metadata, labels: undefined } }],
  ])("is %s", (standing, existing) => {
    expect(standingOf(existing, role)).toBe(standing);
  });
});
