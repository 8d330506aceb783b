import { describe, expect, it } from "vitest";
import { ARCHIVE_FINALIZER, type Checkpoint, IMAGE_FINALIZER } from "../../api/checkpoint.ts";
import { decideCheckpoint, type NodeStanding } from "./decide.ts";

const both = [ARCHIVE_FINALIZER, IMAGE_FINALIZER];
const deleted = "2026-01-01T00:00:00Z";
/** So many seconds after that. */
const at = (seconds: number) => new Date(Date.parse(deleted) + seconds * 1000);
const status = {
  phase: "ImageBuilt",
  checkpointImage: "kcr/shop/checkpoint-web-app",
  imageDigest: "sha256:1",
};

describe("the end of a Checkpoint", () => {
  it.each<[string, Partial<Checkpoint["metadata"]>, object, NodeStanding, string]>([
    ["none when its node is silent", { finalizers: both }, {}, "silent", "nothing"],
    [
      "not while the agent of a silent node may still be at it",
      { finalizers: both, deletionTimestamp: deleted },
      status,
      "silent",
      "wait",
    ],
    ["none while nobody deletes it", { finalizers: both }, status, "there", "nothing"],
    ["none when its node is gone and its image is there", { finalizers: both }, status, "gone", "nothing"],
    ["a failure when its node is gone and no image is", { finalizers: both }, {}, "gone", "fail"],
    ["nothing more once it has failed", { finalizers: both }, { phase: "Failed" }, "gone", "nothing"],
    [
      "not before the agent has removed the archive",
      { finalizers: both, deletionTimestamp: deleted },
      status,
      "there",
      "nothing",
    ],
    [
      "without the archive of a node that no longer exists",
      { finalizers: both, deletionTimestamp: deleted },
      status,
      "gone",
      "release-archive",
    ],
    [
      "with its manifest, when the archive is gone",
      { finalizers: [IMAGE_FINALIZER], deletionTimestamp: deleted },
      status,
      "there",
      "delete-image",
    ],
    [
      "none of ours without our finalizers",
      { finalizers: [], deletionTimestamp: deleted },
      status,
      "there",
      "nothing",
    ],
  ])("%s", (_, metadata, before, node, type) => {
    const checkpoint = { metadata: { name: "c", ...metadata }, spec: {}, status: before } as Checkpoint;
    expect(decideCheckpoint(checkpoint, node, at(0)).type).toBe(type);
  });

  it("without the archive of a node that stays silent, once its agent has had its time", () => {
    const metadata = { name: "c", finalizers: both, deletionTimestamp: deleted };
    const checkpoint = { metadata, spec: {}, status } as Checkpoint;
    expect(decideCheckpoint(checkpoint, "silent", at(19))).toEqual({ type: "wait", ms: 1000 });
    expect(decideCheckpoint(checkpoint, "silent", at(20))).toEqual({ type: "release-archive" });
    expect(decideCheckpoint(checkpoint, "there", at(3600))).toEqual({ type: "nothing" });
  });
});
