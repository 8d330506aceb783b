import { describe, expect, test } from "vitest";
import type { Checkpoint } from "../../api/checkpoint.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import { type Found, fateOf } from "./decide.ts";

const NAME = "checkpoint-web-0_team-prod-app-2026-03-02T10:00:00Z.tar";
const now = new Date("2026-03-02T13:00:00Z");
const found = (more: { name?: string; made?: string; containerID?: string | undefined } = {}): Found => ({
  file: {
    name: more.name ?? NAME,
    path: "",
    modified: new Date(more.made ?? "2026-03-02T10:00:05Z"),
  },
  containerID: "containerID" in more ? more.containerID : "run-1",
});
const request = (phase: string, more: object = {}, namespace = "team-prod"): CheckpointRequest => ({
  metadata: { name: "r", namespace },
  spec: { podReference: { name: "web-0" } },
  status: {
    phase: phase as "Failed",
    containerName: "app",
    startTime: "2026-03-02T10:00:00Z",
    source: {
      defaultContainer: "app",
      lineage: { podUID: "u", containerID: "run-1", restartCount: 0 },
    },
    ...more,
  },
});
const around = { checkpoints: [], requests: [], now };

describe("an archive that nobody seems to need", () => {
  test.each<[string, Found, Partial<Parameters<typeof fateOf>[1]>, string]>([
    ["goes when its request ended without it", found(), { requests: [request("Failed")] }, "leftover"],
    [
      "goes, half-written, when its request ended",
      found({ containerID: undefined }),
      { requests: [request("Failed")] },
      "leftover",
    ],
    [
      "stays while it may become a Checkpoint after all",
      found({ made: "2026-03-02T11:30:00Z" }),
      { requests: [request("Failed")] },
      "keep",
    ],
    [
      "stays while a request of its container has not ended",
      found({ containerID: undefined }),
      { requests: [request("Failed"), request("InProgress")] },
      "keep",
    ],
    [
      "stays when a Checkpoint names it, one that is being deleted too",
      found(),
      {
        checkpoints: [{ spec: { checkpointData: NAME } } as Checkpoint],
        requests: [request("Failed")],
        foreignMs: 0,
      },
      "keep",
    ],
    ["stays when nobody knows of it", found(), {}, "keep"],
    [
      "is none of a request of another namespace whose name is the end of its own",
      found(),
      { requests: [request("Failed", {}, "prod")] },
      "keep",
    ],
    [
      "is none of a request that began later",
      found(),
      { requests: [request("Failed", { startTime: "2026-03-02T10:01:00Z" })] },
      "keep",
    ],
    [
      "is none of a request for another run",
      found({ containerID: "run-2" }),
      { requests: [request("Failed")] },
      "keep",
    ],
    [
      "is none of a request that had ended when the kubelet was asked for it",
      found({ name: NAME.replace("10:00:00", "10:30:00"), made: "2026-03-02T10:30:05Z" }),
      { requests: [request("Failed", { completionTime: "2026-03-02T10:05:00Z" })] },
      "keep",
    ],
    [
      "is none of a request that has its own Checkpoint",
      found(),
      { requests: [request("Completed", { checkpoint: { name: "c" } })] },
      "keep",
    ],
    ["of others stays until it is as old as the cluster says", found(), { foreignMs: 4 * 3_600_000 }, "keep"],
    ["of others goes when it is older", found(), { foreignMs: 2.5 * 3_600_000 }, "foreign"],
    ["of others never goes at once", found({ made: "2026-03-02T12:00:00Z" }), { foreignMs: 0 }, "keep"],
  ])("%s", (_, one, more, fate) => {
    expect(fateOf(one, { ...around, ...more }).type).toBe(fate);
  });
});
