import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { count, counter, RARELY, redis, redisCommand, World } from "../support/world.ts";

const cluster = inject("cluster");

describe.skipIf(cluster === undefined)("a container that crashes", () => {
  let world: World;
  beforeAll(async () => {
    world = await World.enter(cluster!, "restore");
  });
  afterAll(() => world.leave());

  it("comes back with its memory, in its own pod, from the newest good checkpoint", async () => {
    const pod = await world.deploy({ name: "redis", schedule: RARELY, containers: [redis(world)] });
    const ip = pod.status?.podIP ?? "";
    expect(await redisCommand(ip, "SET greeting hello")).toBe("+OK");
    const checkpoint = await world.checkpoint(pod);
    expect(await redisCommand(ip, "SET late gone")).toBe("+OK");

    const status = await world.crash(pod);

    expect(await redisCommand(ip, "GET greeting")).toContain("hello");
    expect(await redisCommand(ip, "GET late")).toBe("$-1");
    expect(status.restartCount).toBe(2);
    const now = await world.pod(pod.metadata.name);
    expect(now.metadata.uid).toBe(pod.metadata.uid);
    expect(now.spec?.containers[0]?.image).toBe(checkpoint.status?.runtimeImage);
    await world.event("Restored", pod.metadata.name);
    await world.event("Restored", "redis");
  });

  it("counts on from where it was through three generations of crash and restore", async () => {
    const pod = await world.deploy({ name: "counter", schedule: RARELY, containers: [counter(world)] });
    let last = 0;
    let parent: string | undefined;
    for (let generation = 1; generation <= 3; generation++) {
      const checkpoint = await world.checkpoint(pod);
      expect(checkpoint.status?.lineage?.parent).toBe(parent);
      expect(checkpoint.status?.baseImage).toBe(world.cluster.images.busybox);
      const before = await count(world, pod);
      expect(before).toBeGreaterThan(last);
      await world.crash(pod);
      last = await count(world, pod);
      expect(last).toBeGreaterThanOrEqual(before - 8);
      parent = checkpoint.metadata.name;
    }
  });
});
