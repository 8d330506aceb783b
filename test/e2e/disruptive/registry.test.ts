import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { ARCHIVE_FINALIZER, type Checkpoint, IMAGE_PUSHED } from "../../../src/api/checkpoint.ts";
import { findCondition } from "../../../src/api/conditions.ts";
import { checkpoints, isGood } from "../../../src/api/kinds.ts";
import type { Pod } from "../../../src/kube/resources.ts";
import { absent } from "../../../src/kube/write.ts";
import type { Digest } from "../../../src/oci/digest.ts";
import { Installation } from "../../support/installation.ts";
import { waitFor } from "../../support/wait-for.ts";
import { counter, RARELY, redis, redisCommand, World } from "../../support/world.ts";

const cluster = inject("cluster");

describe.skipIf(cluster === undefined)("the registry", () => {
  let world: World;
  let kcr: Installation;
  beforeAll(async () => {
    world = await World.enter(cluster!, "registry");
    kcr = new Installation(world);
  });
  afterAll(async () => {
    await world.cluster.startPart("registry");
    await world.cluster.waitReady();
    await world.leave();
  });

  const deployCounter = (name: string): Promise<Pod> =>
    world.deploy({ name, schedule: RARELY, containers: [counter(world)] });

  const get = (name: string): Promise<Checkpoint> =>
    world.client.get(checkpoints, { namespace: world.namespace, name });

  /** Runs `work` while the registry is down, and waits until it answers again. */
  async function withoutRegistry<T>(work: () => Promise<T>): Promise<T> {
    await world.cluster.stopPart("registry");
    try {
      await expect(fetch(`http://${world.cluster.registry.push}/v2/`)).rejects.toThrow();
      return await work();
    } finally {
      await world.cluster.startPart("registry");
      await world.cluster.waitReady();
    }
  }

  it("that is down while a checkpoint is taken: the archive is kept, and pushed when the registry is back", async () => {
    const pod = await deployCounter("down");
    const node = pod.spec?.nodeName ?? "";
    const { name, checkpointData } = await withoutRegistry(async () => {
      const { status } = await world.request("down", { podReference: { name: pod.metadata.name } });
      expect(status?.phase).toBe("Completed");
      const told = await waitFor("the Checkpoint to say why it has no image", async () => {
        const checkpoint = await get(status?.checkpoint?.name ?? "");
        return findCondition(checkpoint.status?.conditions, IMAGE_PUSHED) && checkpoint;
      });
      expect(findCondition(told.status?.conditions, IMAGE_PUSHED)).toMatchObject({
        status: "False",
        reason: "RegistryUnreachable",
      });
      expect(isGood(told)).toBe(false);
      expect(told.metadata.finalizers).toContain(ARCHIVE_FINALIZER);
      expect(await kcr.ownArchives(node)).toEqual([told.spec.checkpointData]);
      await world.event("RegistryUnreachable", told.metadata.name);
      return { name: told.metadata.name, checkpointData: told.spec.checkpointData };
    });

    const good = await world.good(name);
    expect(good.spec.checkpointData).toBe(checkpointData);
    await waitFor("the archive to be released", async () => (await kcr.ownArchives(node)).length === 0);
    expect(await kcr.layersOf(good)).toEqual([good.status?.digest]);
  });

  it("that a node cannot pull from: the pod's image is untouched, and the container restored when it can", async () => {
    const pod = await world.deploy({ name: "unpullable", schedule: RARELY, containers: [redis(world)] });
    const node = pod.spec?.nodeName ?? "";
    const ip = pod.status?.podIP ?? "";
    expect(await redisCommand(ip, "SET greeting hello")).toBe("+OK");
    const checkpoint = await world.checkpoint(pod);
    const hosts = `/etc/kcr/certs.d/${world.cluster.registry.pull}`;
    await world.cluster.nodeExec(node, ["mv", hosts, `${hosts}.away`]);
    try {
      // What was found out before is forgotten.
      await kcr.restartOperators();
      await world.kill(pod);
      const blocked = await waitFor("the pod to say what is in the way", async () => {
        const now = await world.pod(pod.metadata.name);
        const told = now.status?.conditions?.find((c) => c.type === "kcr.io/Restored");
        return told?.reason === "ImagePullFailed" && { told, image: now.spec?.containers[0]?.image };
      });
      expect(blocked.told).toMatchObject({ status: "False" });
      expect(blocked.told.message).toContain(node);
      expect(blocked.image).toBe(world.cluster.images.redis);
      expect(await redisCommand(ip, "GET greeting")).toBe("$-1");
      await world.event("ImagePullFailed", pod.metadata.name);
      await world.event("ImagePullFailed", "unpullable");
    } finally {
      await world.cluster.nodeExec(node, ["mv", `${hosts}.away`, hosts]);
    }

    await world.settled(pod, 0);
    const now = await world.pod(pod.metadata.name);
    expect(now.spec?.containers[0]?.image).toBe(checkpoint.status?.runtimeImage);
    expect(await redisCommand(ip, "GET greeting")).toContain("hello");
    await world.event("Restored", pod.metadata.name);
  });

  it("that has lost an image: that is seen before the pod is touched, and the next older one is restored", async () => {
    const pod = await world.deploy({ name: "lost", schedule: RARELY, containers: [redis(world)] });
    const ip = pod.status?.podIP ?? "";
    expect(await redisCommand(ip, "SET greeting older")).toBe("+OK");
    const older = await world.checkpoint(pod);
    expect(await redisCommand(ip, "SET greeting newer")).toBe("+OK");
    const newer = await world.checkpoint(pod);
    const { checkpointImage = "", imageDigest = "" } = newer.status ?? {};
    await using registry = kcr.registry();
    expect(await registry.deleteManifest(checkpointImage, imageDigest as Digest)).toBe(true);

    await world.crash(pod);
    expect(await redisCommand(ip, "GET greeting")).toContain("older");
    expect(await world.image(pod)).toBe(older.status?.runtimeImage);
    for (const about of [pod.metadata.name, newer.metadata.name]) await world.event("ImageMissing", about);
    const told = await get(newer.metadata.name);
    expect(findCondition(told.status?.conditions, "Restorable")).toMatchObject({
      status: "False",
      reason: "ImageMissing",
    });
  });

  it("that is down while a Checkpoint is deleted: the object waits, says so, and goes with its manifest", async () => {
    const pod = await deployCounter("deleted");
    const taken = await world.checkpoint(pod);
    const { name } = taken.metadata;
    expect(await kcr.layersOf(taken)).toHaveLength(1);
    await withoutRegistry(async () => {
      await world.client.delete(checkpoints, { namespace: world.namespace, name });
      const { note } = await world.event("RegistryUnreachable", name);
      expect(note).toContain("deletion waits");
      expect((await get(name)).metadata.deletionTimestamp).toBeDefined();
    });

    await waitFor("the Checkpoint to go", async () => (await get(name).catch(absent)) === undefined);
    expect(await kcr.layersOf(taken)).toBeUndefined();
  });
});
