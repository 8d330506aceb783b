import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { LOCAL_COPY } from "../../../src/api/checkpoint.ts";
import { findCondition } from "../../../src/api/conditions.ts";
import { checkpoints } from "../../../src/api/kinds.ts";
import type { Pod } from "../../../src/kube/resources.ts";
import { installKcr } from "../../support/install.ts";
import { ARCHIVES, Installation } from "../../support/installation.ts";
import { deployProtected, handlersReady, KCR } from "../../support/runtime.ts";
import { waitFor } from "../../support/wait-for.ts";
import { count, counter, RARELY, World } from "../../support/world.ts";

const cluster = inject("cluster");

describe.skipIf(cluster === undefined)("a node's disk", () => {
  let world: World;
  let kcr: Installation;
  let node: string;
  let pod: Pod;
  beforeAll(async () => {
    world = await World.enter(cluster!, "disks");
    kcr = new Installation(world);
    node = world.worker("2.4");
    // What is found out only when the disk is full: otherwise the dump is refused beforehand.
    await installKcr(world.cluster, { disk: { reserveBytes: 0 } });
    await handlersReady(world, node);
    const containers = [counter(world)];
    pod = await deployProtected(world, { name: "app", schedule: RARELY, node, containers });
  });
  afterAll(async () => {
    await installKcr(world.cluster);
    await handlersReady(world);
    await world.leave();
  });

  let requests = 0;
  const ask = () => world.request(`disk-${requests++}`, { podReference: { name: pod.metadata.name } });
  const runsOn = async () => {
    const before = await count(world, pod);
    await waitFor("the program to run on", async () => (await count(world, pod)) > before + 2);
  };

  it("that is full or read-only: the dump fails and says so, leaves nothing, harms nobody, and works when it is mended", async () => {
    await kcr.withDisk(node, ARCHIVES, async (remount) => {
      for (const [how, code] of [
        ["remount,size=64k", "DiskFull"],
        ["remount,ro", "DiskReadOnly"],
      ] as const) {
        await remount(how);
        const { status } = await ask();
        expect(status).toMatchObject({ phase: "Failed", reason: code });
        await world.event(code, pod.metadata.name);
        await runsOn();
        expect(await kcr.ownArchives(node)).toEqual([]);
        await remount("remount,rw,size=64m");
        await world.checkpoint(pod);
        await waitFor("the archive to go", async () => (await kcr.ownArchives(node)).length === 0);
      }
    });
  });

  it("that is read-only below kcr's own directory costs the copy, and not the image", async () => {
    const set = (how: string) => kcr.remount(node, KCR.root, how);
    await set("remount,bind,ro");
    try {
      const { status } = await ask();
      const name = status?.checkpoint?.name ?? "";
      const told = await waitFor("the Checkpoint to have an image and no copy", async () => {
        const { status } = await world.client.get(checkpoints, { namespace: world.namespace, name });
        const copy = findCondition(status?.conditions, LOCAL_COPY);
        return status?.phase === "ImageBuilt" && copy?.status === "False" && copy;
      });
      expect(told.reason).toBe("DiskReadOnly");
      await world.good(name);
      await runsOn();
      await set("remount,bind,rw");
      await waitFor(
        "the copy to be made",
        async () => {
          const { status } = await world.client.get(checkpoints, { namespace: world.namespace, name });
          return findCondition(status?.conditions, LOCAL_COPY)?.status === "True";
        },
        { timeoutMs: 120_000 },
      );
    } finally {
      await set("remount,bind,rw");
    }
  });
});
