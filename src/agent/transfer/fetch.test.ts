import { describe, expect, test } from "vitest";
import type { Checkpoint, CheckpointStatus } from "../../api/checkpoint.ts";
import { TransferError, type TransferErrorCode } from "../../transfer/errors.ts";
import { nodesWith, peerError } from "./fetch.ts";

const with_ = (status: CheckpointStatus): Checkpoint =>
  ({ metadata: { name: "c" }, spec: { nodeName: "own" }, status }) as Checkpoint;
const contentDigest = `sha256:${"1".repeat(64)}`;
const on = (node: string, verifiedTime?: string) => ({ kind: "Node" as const, node, verifiedTime });

describe("the nodes to be asked", () => {
  test("are the others that have a copy: its own, then the one that looked last", () => {
    const copies = [
      on("own", "2026-01-01T00:00:00Z"),
      on("self", "2026-01-09T00:00:00Z"),
      on("never"),
      on("old", "2026-01-01T00:00:00Z"),
      { kind: "Registry" as const, image: "registry.example/a" },
      on("new", "2026-01-02T00:00:00Z"),
    ];
    expect(nodesWith(with_({ contentDigest, copies }), "self")).toEqual(["own", "new", "old", "never"]);
  });

  test("are none where nobody could tell what they send from what it should be", () => {
    expect(nodesWith(with_({ copies: [on("a")] }), "self")).toEqual([]);
    expect(nodesWith(with_({ contentDigest }), "self")).toEqual([]);
    expect(nodesWith({ metadata: { name: "c" } } as Checkpoint, "self")).toEqual([]);
  });
});

test.each<[TransferErrorCode, string | undefined]>([
  ["unreachable", undefined],
  ["busy", undefined],
  ["refused", "CopyMissing"],
  ["missing", "CopyMissing"],
  ["protocol", "CopyMissing"],
  ["version", "ProtocolUnknown"],
  ["damaged", "CopyCorrupt"],
])("what ends with %s is told as %s", (code, told) => {
  expect(peerError(new TransferError(code, "why"))?.code).toBe(told);
  expect(peerError(new Error("other"))).toBeUndefined();
});
