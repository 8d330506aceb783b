import { describe, expect, it } from "vitest";
import type { Checkpoint, CheckpointStatus } from "../../api/checkpoint.ts";
import type { CheckpointDownload, DownloadStatus } from "../../api/download.ts";
import type { Pod } from "../../kube/resources.ts";
import { decideDownload, restOf } from "./decide.ts";

const now = new Date("2026-01-01T00:00:10Z");
const digest = `sha256:${"a".repeat(64)}`;

const download = (
  status?: DownloadStatus,
  { made = "2026-01-01T00:00:00Z", ttlSeconds = 60, gone = false } = {},
): CheckpointDownload => ({
  metadata: {
    namespace: "shop",
    name: "d",
    creationTimestamp: made,
    ...(gone ? { deletionTimestamp: made } : {}),
  },
  spec: { checkpointName: "web-1", publicKey: `x25519:${"A".repeat(43)}`, ttlSeconds },
  ...(status === undefined ? {} : { status }),
});
const checkpoint = (
  status: CheckpointStatus = { digest, sizeBytes: 7, copies: [{ kind: "Node", node: "a" }] },
) => ({ metadata: { namespace: "shop", name: "web-1" }, status }) as Checkpoint;
const pod = (name: string, { ready = true, made = "2026-01-01T00:00:00Z", gone = false } = {}) =>
  ({
    metadata: {
      namespace: "kcr-download",
      name,
      creationTimestamp: made,
      ...(gone ? { deletionTimestamp: made } : {}),
    },
    status: { conditions: [{ type: "Ready", status: ready ? "True" : "False" }] },
  }) as unknown as Pod;
const endpoint = (podName: string) => ({ namespace: "kcr-download", podName, port: 8445 });

const decide = (
  status?: DownloadStatus,
  more: Parameters<typeof download>[1] & { checkpoint?: Checkpoint | undefined; pods?: Pod[] } = {},
) =>
  decideDownload(download(status, more), {
    now,
    checkpoint: "checkpoint" in more ? more.checkpoint : checkpoint(),
    pods: more.pods ?? [pod("p1")],
  });

describe("a CheckpointDownload", () => {
  it("is offered what the Checkpoint says, at a pod that is ready", () => {
    expect(decide()).toEqual({ type: "offer", offer: { digest, sizeBytes: 7, endpoint: endpoint("p1") } });
  });

  it.each([
    ["has not expired", 11, { type: "offer" }],
    ["has expired", 10, { type: "delete" }],
  ])("that %s", (_, ttlSeconds, expected) => {
    expect(decide(undefined, { ttlSeconds })).toMatchObject(expected);
  });

  it("that has expired goes, whatever became of it", () => {
    for (const phase of ["Pending", "Ready", "Failed"] as const) {
      expect(decide({ phase }, { ttlSeconds: 5, checkpoint: undefined })).toEqual({ type: "delete" });
    }
    expect(decide({ phase: "Ready" }, { ttlSeconds: 5, gone: true })).toEqual({ type: "nothing" });
  });

  it("fails for good where there is no such Checkpoint", () => {
    expect(decide(undefined, { checkpoint: undefined })).toMatchObject({
      type: "fail",
      error: { code: "CheckpointNotFound" },
    });
    const going = checkpoint();
    going.metadata.deletionTimestamp = "2026-01-01T00:00:00Z";
    expect(decide(undefined, { checkpoint: going })).toMatchObject({ type: "fail" });
    expect(decide({ phase: "Failed" })).toEqual({ type: "nothing" });
  });

  it.each([
    ["there is no copy", { digest, copies: [] }],
    ["there is no digest", { copies: [{ kind: "Node" as const, node: "a" }] }],
    ["nothing is said", {}],
  ])("waits while %s", (_, status) => {
    expect(decide(undefined, { checkpoint: checkpoint(status) })).toMatchObject({
      type: "wait",
      why: { code: "ArchiveNowhere" },
    });
  });

  it("waits while no pod is ready", () => {
    for (const pods of [[], [pod("p1", { ready: false })], [pod("p1", { gone: true })]]) {
      expect(decide(undefined, { pods })).toMatchObject({
        type: "wait",
        why: { code: "DownloadUnavailable" },
      });
    }
  });

  it("is told of another pod when its own goes, and keeps its token", () => {
    const offered: DownloadStatus = {
      phase: "Ready",
      tokenHash: "b".repeat(64),
      digest,
      sizeBytes: 7,
      endpoint: endpoint("p1"),
    };
    const newer = pod("p2", { made: "2026-01-01T00:00:05Z" });
    expect(decide(offered)).toEqual({ type: "nothing" });
    expect(decide(offered, { pods: [pod("p1"), newer] })).toEqual({ type: "nothing" });
    for (const own of [pod("p1", { ready: false }), pod("p1", { gone: true })]) {
      expect(decide(offered, { pods: [own, newer] })).toMatchObject({
        type: "amend",
        offer: { endpoint: endpoint("p2") },
      });
    }
    expect(decide({ ...offered, phase: "Pending" })).toMatchObject({ type: "amend" });
  });

  it("has its rest of time", () => {
    expect(restOf(download(), now)).toBe(50_000);
    expect(restOf(download(undefined, { ttlSeconds: 5 }), now)).toBe(0);
  });
});
