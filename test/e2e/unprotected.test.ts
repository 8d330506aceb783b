import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import type { Pod } from "../../src/kube/resources.ts";
import { waitFor } from "../support/wait-for.ts";
import { count, counter, RARELY, World } from "../support/world.ts";

const cluster = inject("cluster");

describe.skipIf(cluster === undefined)("a container that crashes and is not to be restored", () => {
  let world: World;
  beforeAll(async () => {
    world = await World.enter(cluster!, "unprotected");
  });
  afterAll(() => world.leave());

  /** Kills the container and waits for the kubelet's next run of it. */
  async function crashUnwatched(pod: Pod): Promise<void> {
    const { restartCount } = await world.container(pod);
    await world.kill(pod);
    await waitFor("the next run", async () => {
      const { state, restartCount: now } = await world.container(pod);
      return state?.running !== undefined && now > restartCount;
    });
  }

  it("has no schedule: it is checkpointed on demand all the same", async () => {
    const pod = await world.deploy({ name: "none", containers: [counter(world)] });
    await crashUnwatched(pod);
    const { status } = await world.checkpoint(pod);
    expect(status?.lineage).toMatchObject({ restartCount: 1 });
    expect(status?.lineage?.parent).toBeUndefined();
    expect(await world.image(pod)).toBe(world.cluster.images.busybox);
  });

  it("has restore.policy Never: it starts afresh, and its new run is checkpointed", async () => {
    const pod = await world.deploy({ name: "never", schedule: RARELY, containers: [counter(world)] });
    await world.amend("never", { restore: { policy: "Never" } });
    await world.checkpoint(pod);
    await crashUnwatched(pod);
    const { status } = await world.checkpoint(pod);
    expect(status?.lineage?.restartCount).toBe(1);
    expect(await world.image(pod)).toBe(world.cluster.images.busybox);
  });

  it("ran well again long before it was protected: it is not thrown back to what it was", async () => {
    const pod = await world.deploy({ name: "later", containers: [counter(world)] });
    await world.checkpoint(pod);
    await crashUnwatched(pod);
    // The tests' kcr takes a run of ten seconds for one that runs well.
    await waitFor("it to have run well", async () => (await count(world, pod)) > 60, { intervalMs: 1000 });
    await world.annotate("later", RARELY);
    await world.settled(pod, 0);
    expect(await world.image(pod)).toBe(world.cluster.images.busybox);
    expect((await world.container(pod)).restartCount).toBe(1);

    const checkpoint = await world.checkpoint(pod);
    await world.crash(pod);
    expect(await world.image(pod)).toBe(checkpoint.status?.runtimeImage);
  });
});
