import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { runtimeID } from "../../src/api/pod.ts";
import { Installation } from "../support/installation.ts";
import { advance, mark, marked, podVolumes } from "../support/programs.ts";
import { waitFor } from "../support/wait-for.ts";
import { RARELY, redis, redisCommand, World } from "../support/world.ts";

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
    const containers = [marked(world)];
    const pod = await world.deploy({ name: "counter", schedule: RARELY, containers, podSpec: podVolumes });
    let parent: string | undefined;
    for (const generation of [1, 2, 3]) {
      expect(await advance(world, pod)).toBe(generation);
      const checkpoint = await world.checkpoint(pod);
      expect(checkpoint.status?.lineage?.parent).toBe(parent);
      expect(checkpoint.status?.baseImage).toBe(world.cluster.images.busybox);
      await world.crash(pod);
      expect(await mark(world, pod)).toBe(generation);
      expect(await world.image(pod)).toBe(checkpoint.status?.runtimeImage);
      parent = checkpoint.metadata.name;
    }
  });

  it("in the middle of its dump, can be reached when it is back", async () => {
    const pod = await world.deploy({ name: "dumped", schedule: RARELY, containers: [redis(world)] });
    const ip = pod.status?.podIP ?? "";
    // Large enough that CRIU is busy with it for a while.
    await redisCommand(ip, "SETRANGE large 400000000 x", 20_000);
    await redisCommand(ip, "SET greeting hello");
    await world.checkpoint(pod);

    const { containerID, restartCount } = await world.container(pod);
    const [node, id] = [pod.spec?.nodeName ?? "", runtimeID(containerID)];
    const tasks = await world.cluster.nodeExec(node, ["ctr", "-n", "k8s.io", "tasks", "list"]);
    const pid = new RegExp(`^${id}\\s+(\\d+)`, "m").exec(tasks)?.[1];
    const isTraced = `grep -q 'TracerPid:[[:space:]]*[1-9]' /proc/${pid}/status`;
    const killed = new Installation(world).onceOn(node, isTraced, `sleep 0.15; kill -KILL ${pid}`);
    const request = world.request("dumped", { podReference: { name: pod.metadata.name } });
    await killed;

    await world.settled(pod, restartCount);
    await waitFor("Redis to answer", async () => (await redisCommand(ip, "GET greeting")).includes("hello"));
    expect((await request).status?.phase, "it was dumped before it was killed").toBe("Failed");
  });
});
