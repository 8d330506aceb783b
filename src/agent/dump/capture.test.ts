import { mkdtemp, readdir, rm, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type CheckpointSpec, writeCheckpoint } from "../../../test/support/archive.ts";
import type { CaptureSource } from "../../api/request.ts";
import { Archives } from "../archives.ts";
import { inspect } from "../inspect.ts";
import { findLeftBehind, mismatch } from "./capture.ts";

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

describe("what a killed dump left behind", () => {
  let archives: Archives;
  const since = new Date("2026-01-01T12:00:00Z");
  const written = new Date("2026-01-01T12:00:10Z");
  const later = "checkpoint-cache-0_shop-app-2026-01-01T12:00:05Z.tar";
  beforeEach(async () => {
    archives = new Archives(await mkdtemp(join(tmpdir(), "kcr-left-")));
  });
  afterEach(() => rm(archives.directory, { recursive: true }));

  const write = async (file: string, spec: CheckpointSpec, modified = written) => {
    await writeCheckpoint(archives.path(file), spec);
    await utimes(archives.path(file), modified, modified);
  };
  /** Looks when the last byte is so many seconds old. */
  const look = (seconds: number, named: string[] = []) => {
    const now = () => new Date(written.getTime() + seconds * 1000);
    return findLeftBehind({ archives, now }, target, source, since, new Set(named));
  };
  const cutOff: CheckpointSpec = { ...own, without: ["checkpoint/pstree.img"] };

  it("is taken up when it is whole and of the very run", async () => {
    await write(name, own);
    expect(await look(0)).toMatchObject({ type: "archive", captured: { name } });
  });

  it("is waited for while it may still be written to", async () => {
    await write(name, cutOff);
    expect(await look(1)).toEqual({ type: "unfinished" });
    expect(await readdir(archives.directory)).toEqual([name]);
  });

  it("is removed when it is cut off for good, and a whole one is found behind it", async () => {
    await write(name, own, new Date(written.getTime() - 1000));
    await write(later, cutOff);
    expect(await look(60)).toMatchObject({ type: "archive", captured: { name } });
    expect(await readdir(archives.directory)).toEqual([name]);
  });

  it("is neither what a Checkpoint names, nor what is older, nor what is another run's", async () => {
    await write(name, cutOff, new Date(since.getTime() - 1000));
    await write(later, cutOff);
    const other = "checkpoint-cache-0_shop-app-2026-01-01T12:00:07Z.tar";
    await write(other, { ...own, containerId: "def" });
    expect(await look(60, [later])).toEqual({ type: "nothing" });
    expect((await readdir(archives.directory)).sort()).toEqual([name, later, other].sort());
  });
});
