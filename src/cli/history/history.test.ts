import { expect, it } from "vitest";
import type { Checkpoint } from "../../api/checkpoint.ts";
import { repositoryName } from "../../api/names.ts";
import type { CheckpointRestore } from "../../api/restore.ts";
import type { Pod } from "../../kube/resources.ts";
import { historyOf } from "./history.ts";

const checkpoint = (
  name: string,
  minute: number,
  more: { schedule?: string; podUID?: string; image?: string },
) =>
  ({
    metadata: { name, namespace: "shop", labels: { pod: `pod-${more.podUID ?? "gone"}` } },
    spec: {
      checkpointTimestamp: `2026-01-01T12:${minute}:00Z`,
      containerName: "app",
      checkpointScheduleRef: more.schedule && { name: more.schedule },
    },
    status: { lineage: { podUID: more.podUID }, checkpointImage: more.image },
  }) as unknown as Checkpoint;
const restore = (name: string, pod: string, minute: number) =>
  ({
    metadata: { name, creationTimestamp: `2026-01-01T12:${minute}:30Z` },
    spec: { checkpointName: "x", podReference: { name: pod } },
  }) as CheckpointRestore;

it("a history is of the workload's own, those of pods that are gone too, newest first", () => {
  const path = (workload: string) => repositoryName("registry", "checkpoints", "shop", workload, "app");
  const checkpoints = [
    checkpoint("scheduled", 10, { schedule: "web", podUID: "old" }),
    checkpoint("of-a-pod", 11, { podUID: "u1" }),
    checkpoint("of-a-pod-gone", 12, { podUID: "u0", image: path("web") }),
    checkpoint("of-a-namesake", 13, { podUID: "u9", image: path("web-app") }),
    checkpoint("of-another", 14, { schedule: "other", podUID: "u8" }),
  ];
  const restores = [restore("back", "pod-u0", 15), restore("elsewhere", "pod-u8", 16)];
  const pods = [{ metadata: { name: "pod-u1", uid: "u1" } } as Pod];
  const entries = historyOf({ pods, schedules: ["web"], workload: "web" }, checkpoints, restores);
  expect(
    entries.map((entry) => (entry.type === "restore" ? entry.restore : entry.checkpoint).metadata.name),
  ).toEqual(["back", "of-a-pod-gone", "of-a-pod", "scheduled"]);
});
