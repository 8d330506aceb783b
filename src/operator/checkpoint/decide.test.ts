import { describe, expect, it } from "vitest";
import { ARCHIVE_FINALIZER, type Checkpoint, IMAGE_FINALIZER } from "../../api/checkpoint.ts";
import { decideCheckpoint } from "./decide.ts";

const both = [ARCHIVE_FINALIZER, IMAGE_FINALIZER];
const deleted = "2026-01-01T00:00:00Z";
const status = {
  phase: "ImageBuilt",
  checkpointImage: "kcr/shop/checkpoint-web-app",
  imageDigest: "sha256:1",
};

describe("the end of a Checkpoint", () => {
  it.each<[string, Partial<Checkpoint["metadata"]>, object, boolean, string]>([
    ["none while nobody deletes it", { finalizers: both }, status, true, "nothing"],
    ["none when its node is gone and its image is there", { finalizers: both }, status, false, "nothing"],
    ["a failure when its node is gone and no image is", { finalizers: both }, {}, false, "fail"],
    ["nothing more once it has failed", { finalizers: both }, { phase: "Failed" }, false, "nothing"],
    [
      "not before the agent has removed the archive",
      { finalizers: both, deletionTimestamp: deleted },
      status,
      true,
      "nothing",
    ],
    [
      "without the archive of a node that no longer exists",
      { finalizers: both, deletionTimestamp: deleted },
      status,
      false,
      "release-archive",
    ],
    [
      "with its manifest, when the archive is gone",
      { finalizers: [IMAGE_FINALIZER], deletionTimestamp: deleted },
      status,
      true,
      "delete-image",
    ],
    [
      "none of ours without our finalizers",
      { finalizers: [], deletionTimestamp: deleted },
      status,
      true,
      "nothing",
    ],
  ])("%s", (_, metadata, now, nodeExists, type) => {
    const checkpoint = { metadata: { name: "c", ...metadata }, spec: {}, status: now } as Checkpoint;
    expect(decideCheckpoint(checkpoint, nodeExists).type).toBe(type);
  });
});
