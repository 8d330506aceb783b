import { expect, test } from "vitest";
import {
  ARCHIVE_FINALIZER,
  type Checkpoint,
  type CheckpointStatus,
  LOCAL_COPY,
} from "../../api/checkpoint.ts";
import { decideImage } from "./decide.ts";

const told = (status: "True" | "False", reason: string) => ({
  conditions: [{ type: LOCAL_COPY, status, reason, message: "", lastTransitionTime: "2026-01-01T12:00:00Z" }],
});
const checkpoint = (status: CheckpointStatus, metadata: object = {}): Checkpoint => ({
  metadata: { name: "a", namespace: "shop", finalizers: [ARCHIVE_FINALIZER], ...metadata },
  spec: {
    checkpointData: "checkpoint-a.tar",
    checkpointTimestamp: "2026-01-01T12:00:00Z",
    checkpointID: "a",
    containerName: "app",
    nodeName: "here",
  },
  status,
});
const built: CheckpointStatus = { phase: "ImageBuilt", checkpointImage: "kcr/a", imageDigest: "sha256:1" };
const ofClass: CheckpointStatus = { ...built, handler: "kcr" };
const decide = (status: CheckpointStatus, metadata?: object, store: "both" | "node" = "both") =>
  decideImage(checkpoint(status, metadata), "here", store).type;

test.each(["Created", "Processing"] as const)("an archive is pushed: %s", (phase) => {
  expect(decide({ phase })).toBe("push");
  expect(decide({ phase }, undefined, "node")).toBe("nothing");
});

test("an archive goes once its image is there, and of class kcr once there is a word about its copy", () => {
  expect(decide(built)).toBe("release");
  expect(decide(ofClass)).toBe("nothing");
  expect(decide({ ...ofClass, ...told("True", "CopyVerified") })).toBe("release");
  expect(decide({ ...ofClass, ...told("False", "DiskFull") })).toBe("release");
});

test("what is being deleted goes, wherever Checkpoints are kept; what is another node's does not", () => {
  const going = { deletionTimestamp: "2026-01-01T12:00:00Z" };
  expect(decide(ofClass, going)).toBe("remove");
  expect(decide({ phase: "Created" }, going, "node")).toBe("remove");
  expect(decide(ofClass, { ...going, finalizers: [] })).toBe("nothing");
  expect(decideImage(checkpoint(built, going), "elsewhere", "both").type).toBe("nothing");
});
