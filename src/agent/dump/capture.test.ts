import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type CheckpointSpec, writeCheckpoint } from "../../../test/support/archive.ts";
import type { CaptureSource } from "../../api/request.ts";
import { Archives } from "../archives.ts";
import { inspect } from "../inspect.ts";
import { mismatch } from "./capture.ts";

const target = { namespace: "shop", pod: "cache-0", container: "app" };
const source: CaptureSource = {
  lineage: { podUID: "uid-1", containerID: "abc", restartCount: 1 },
  defaultContainer: "app",
  repository: "kcr/shop/checkpoint-cache-app",
};
const image = "registry.example/kcr/shop/checkpoint-cache-app@sha256:00";
const name = "checkpoint-cache-0_shop-app-2026-01-01T12:00:00Z.tar";
const own: CheckpointSpec = {
  podNamespace: "shop",
  podName: "cache-0",
  podUid: "uid-1",
  containerName: "app",
  containerId: "abc",
};

/** What containerd writes of a container that it restored: its spec has lost the container's name. */
const restored = (from: string): CheckpointSpec => ({
  ...own,
  containerName: "containerd",
  more: [
    {
      name: "status.dump",
      content: JSON.stringify({
        metadata: { name: "app" },
        labels: { "io.kubernetes.container.name": "app" },
        annotations: { restored: "true", checkpointImage: from },
      }),
    },
  ],
});

describe("mismatch", () => {
  let archives: Archives;
  beforeEach(async () => {
    archives = new Archives(await mkdtemp(join(tmpdir(), "kcr-capture-")));
  });
  afterEach(() => rm(archives.directory, { recursive: true }));

  it.each<[string, CheckpointSpec, Partial<CaptureSource>, string | undefined]>([
    ["the run itself", own, {}, undefined],
    ["a restored run", restored(image), { restoredFrom: image }, undefined],
    ["a run that was to be restored and was not", own, { restoredFrom: image }, "RestoreInProgress"],
    ["a run restored from another image", restored("other"), { restoredFrom: image }, "RestoreInProgress"],
    ["a later run", { ...own, containerId: "def" }, {}, "RestoreInProgress"],
    ["another container of the pod", { ...own, containerName: "side" }, {}, "ArchiveInvalid"],
    ["a pod of the same name before it", { ...own, podUid: "uid-0" }, {}, "ArchiveInvalid"],
    ["another pod", { ...own, podName: "cache-1" }, {}, "ArchiveInvalid"],
    ["another namespace", { ...own, podNamespace: "bank" }, {}, "ArchiveInvalid"],
    ["a container without a pod", { ...own, engine: "podman" }, {}, "ArchiveInvalid"],
    ["CRI-O's", { ...own, engine: "cri-o" }, {}, undefined],
  ])("an archive of %s", async (_, spec, more, code) => {
    await writeCheckpoint(archives.path(name), spec);
    const found = mismatch(await inspect(archives, name), target, { ...source, ...more });
    expect(found?.code).toBe(code);
  });
});
