import { describe, expect, test } from "vitest";
import type { Checkpoint, CheckpointStatus } from "../../api/checkpoint.ts";
import { placesOf } from "./places.ts";

const now = new Date("2026-01-01T12:00:00Z");
const image = { kind: "Registry", image: "r/x@sha256:1" } as const;
const on = (node: string) => ({ kind: "Node", node }) as const;
const checkpoint = (copies: CheckpointStatus["copies"], metadata = {}) =>
  ({
    metadata: { name: "c", ...metadata },
    spec: { nodeName: "own" },
    status: { phase: "Created", copies },
  }) as Checkpoint;

describe("the places of a Checkpoint", () => {
  test("are joined by the nodes that say they have it, and left by those that do so no more", () => {
    const added = { ...on("b"), verifiedTime: now.toISOString() };
    expect(placesOf(checkpoint([image, on("own")]), ["b"], now)).toEqual([image, on("own"), added]);
    expect(placesOf(checkpoint(undefined), ["b"], now)).toEqual([added]);
    expect(placesOf(checkpoint([on("a"), image, on("own")]), ["b"], now)).toEqual([image, on("own"), added]);
    expect(placesOf(checkpoint([on("a"), image]), [], now)).toEqual([image]);
  });

  test("stay as they are when nothing else is said", () => {
    expect(placesOf(checkpoint([image, on("own"), on("b")]), ["b"], now)).toBeUndefined();
    expect(placesOf(checkpoint([]), [], now)).toBeUndefined();
  });

  test("are its own agent's to say, of its own node", () => {
    expect(placesOf(checkpoint([image]), ["own"], now)).toBeUndefined();
    expect(placesOf(checkpoint([on("own")]), [], now)).toBeUndefined();
  });

  test("are of no concern while it has no phase, or is going", () => {
    expect(placesOf({ ...checkpoint([]), status: {} } as Checkpoint, ["b"], now)).toBeUndefined();
    expect(placesOf(checkpoint([], { deletionTimestamp: "x" }), ["b"], now)).toBeUndefined();
  });

  test("are not more than there is room for", () => {
    const many = Array.from({ length: 100 }, (_, i) => `node-${i}`);
    const places = placesOf(checkpoint([image, on("own")]), many, now);
    expect(places).toHaveLength(62);
    expect(placesOf(checkpoint(places), many.toReversed(), now)).toBeUndefined();
  });
});
