import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import type { Checkpoint } from "../../src/api/checkpoint.ts";
import { restores } from "../../src/api/kinds.ts";
import type { CheckpointRestore, RestoreSpec } from "../../src/api/restore.ts";
import type { Pod } from "../../src/kube/resources.ts";
import { advance, carrier, mark } from "../support/programs.ts";
import { capture, crash, deployProtected, handlersReady, planned } from "../support/runtime.ts";
import { RARELY, World } from "../support/world.ts";

const cluster = inject("cluster");

describe.skipIf(cluster === undefined)("a person takes a healthy container back", () => {
  let world: World;
  beforeAll(async () => {
    world = await World.enter(cluster!, "on-demand");
  });
  afterAll(() => world.leave());

  const two = () => [carrier(world), carrier(world)];
  let asked = 0;
  const goBack = (pod: Pod, to: Checkpoint, more: Partial<RestoreSpec> = {}): Promise<CheckpointRestore> =>
    world.goBack(`back-${asked++}`, {
      checkpointName: to.metadata.name,
      podReference: { name: pod.metadata.name },
      ...more,
    });
  const savedBy = ({ status }: CheckpointRestore): Promise<Checkpoint> =>
    world.good(status?.savedCheckpoint ?? "none was saved");
  const ids = async (pod: Pod) => {
    const [app, other] = [await world.container(pod), await world.container(pod, "app-1")];
    return { app: app.containerID, other: other.containerID, restarts: app.restartCount };
  };

  it("by image: what it was is saved first, and no later crash throws it forward again", async () => {
    const pod = await world.deploy({ name: "image", schedule: RARELY, containers: two() });
    expect(await advance(world, pod)).toBe(1);
    const old = await world.checkpoint(pod);
    expect(await advance(world, pod)).toBe(2);
    const before = await ids(pod);

    const restore = await goBack(pod, old);
    expect(restore.status).toMatchObject({ phase: "Completed", strategy: "Image", containerName: "app" });
    const saved = await savedBy(restore);
    expect(await mark(world, pod)).toBe(1);
    const after = await ids(pod);
    expect(after).toMatchObject({ other: before.other, restarts: before.restarts + 1 });
    expect(after.app).not.toBe(before.app);

    await world.crash(pod);
    expect(await mark(world, pod), "after a crash").toBe(1);

    // Its image stands in the pod already.
    expect(await advance(world, pod)).toBe(2);
    expect(await advance(world, pod)).toBe(3);
    expect((await goBack(pod, old, { discardCurrent: true })).status).toMatchObject({ phase: "Completed" });
    expect(await mark(world, pod), "back once more").toBe(1);

    expect((await goBack(pod, saved)).status).toMatchObject({ phase: "Completed" });
    expect(await mark(world, pod), "forward on purpose").toBe(2);
    expect((await ids(pod)).other).toBe(before.other);

    // What was saved stays when nobody needs the CheckpointRestore any more.
    await world.client.delete(restores, restore.metadata);
    expect((await world.good(saved.metadata.name)).metadata.ownerReferences).toMatchObject([
      { kind: "CheckpointRequest" },
    ]);
  });

  it("by image, of a pod that nothing protects", async () => {
    const pod = await world.deploy({ name: "unprotected", containers: [carrier(world)] });
    expect(await advance(world, pod)).toBe(1);
    const old = await world.checkpoint(pod);
    expect(await advance(world, pod)).toBe(2);
    const restore = await goBack(pod, old);
    expect(restore.status).toMatchObject({ phase: "Completed", strategy: "Image" });
    expect(await mark(world, pod)).toBe(1);
  });

  it("not by image where the runtime no longer restores from one: refused, and nothing happens to it", async () => {
    const pod = await world.deploy({ name: "refused", node: world.worker("2.4"), containers: two() });
    const old = await world.checkpoint(pod);
    const before = await ids(pod);
    expect((await goBack(pod, old)).status).toMatchObject({ phase: "Failed", reason: "StrategyUnavailable" });
    expect(await ids(pod)).toEqual(before);
  });

  it.each(["2.3", "2.4"] as const)(
    "by the handler of containerd %s: that container alone restarts, in place",
    async (containerd) => {
      const node = world.worker(containerd);
      await handlersReady(world, node);
      const name = `handler-${containerd.replace(".", "-")}`;
      const pod = await deployProtected(world, { name, schedule: RARELY, node, containers: two() });
      expect(await advance(world, pod)).toBe(1);
      const old = await capture(world, pod);
      expect(await advance(world, pod)).toBe(2);
      expect(await advance(world, pod, "app-1")).toBe(1);
      const before = await ids(pod);

      const restore = await goBack(pod, old);
      expect(restore.status).toMatchObject({
        phase: "Completed",
        strategy: "Runtime",
        containerName: "app",
        nodeName: node,
      });
      const saved = await savedBy(restore);
      expect(await mark(world, pod)).toBe(1);
      expect(await mark(world, pod, "app-1"), "the other container").toBe(1);
      const after = await ids(pod);
      expect(after).toMatchObject({ other: before.other, restarts: before.restarts + 1 });
      expect(after.app).not.toBe(before.app);
      expect(await world.image(pod)).toMatch(/@sha256:/);
      expect((await world.pod(pod.metadata.name)).metadata.uid).toBe(pod.metadata.uid);
      await world.event("Restored", restore.metadata.name);
      await world.event("Restored", pod.metadata.name);

      await planned(world, pod, old);
      await crash(world, pod);
      expect(await mark(world, pod), "after a crash").toBe(1);

      expect((await goBack(pod, saved)).status).toMatchObject({ phase: "Completed" });
      expect(await mark(world, pod), "forward on purpose").toBe(2);
      expect((await ids(pod)).other).toBe(before.other);
    },
  );
});
