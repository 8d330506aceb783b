import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { type Checkpoint, RESTORABLE } from "../../src/api/checkpoint.ts";
import { setCondition } from "../../src/api/conditions.ts";
import { checkpoints, isPoisoned, requests } from "../../src/api/kinds.ts";
import { readRecords } from "../../src/api/records.ts";
import type { Pod } from "../../src/kube/resources.ts";
import { writeStatus } from "../../src/kube/write.ts";
import { advance, forbid, mark, marked, podVolumes } from "../support/programs.ts";
import { waitFor } from "../support/wait-for.ts";
import { RARELY, World } from "../support/world.ts";

const cluster = inject("cluster");

describe.skipIf(cluster === undefined)("which state a crashed container comes back with", () => {
  let world: World;
  beforeAll(async () => {
    world = await World.enter(cluster!, "lineage");
  });
  afterAll(() => world.leave());

  const deploy = (name: string) =>
    world.deploy({ name, schedule: RARELY, containers: [marked(world)], podSpec: podVolumes });

  /** Checkpoints of a container as it carries the marks 1 and 2; it goes on with mark 3. */
  async function checkpointTwice(pod: Pod): Promise<{ older: Checkpoint; newer: Checkpoint }> {
    await advance(world, pod);
    const older = await world.checkpoint(pod);
    await advance(world, pod);
    const newer = await world.checkpoint(pod);
    expect(await advance(world, pod)).toBe(3);
    return { older, newer };
  }

  const now = ({ metadata }: Checkpoint) => world.client.get(checkpoints, metadata);

  const poisoned = (checkpoint: Checkpoint) =>
    waitFor(
      `Checkpoint ${checkpoint.metadata.name} to be poisoned`,
      async () => isPoisoned(await now(checkpoint)),
      { timeoutMs: 120_000 },
    );

  it("the newest Checkpoint is not good: the older one is restored, and again after a crash before the next slot", async () => {
    const pod = await deploy("bad");
    const { older, newer } = await checkpointTwice(pod);
    const current = await now(newer);
    const failed = {
      type: RESTORABLE,
      status: "False",
      reason: "CheckpointFailed",
      message: "test",
    } as const;
    const conditions = setCondition(current.status?.conditions, failed, new Date());
    await writeStatus(world.client, checkpoints, current, { phase: "Failed", conditions });

    for (const crash of [1, 2]) {
      await world.crash(pod);
      expect(await mark(world, pod), `after crash ${crash}`).toBe(1);
      expect(await world.image(pod)).toBe(older.status?.runtimeImage);
    }
  });

  it("a slot between crash and restore: its Checkpoint never buries the state", async () => {
    const pod = await deploy("between");
    expect(await advance(world, pod)).toBe(1);
    await world.checkpoint(pod);
    const { restartCount } = await world.container(pod);

    await world.kill(pod);
    const settled = world.settled(pod, restartCount);
    let over = false;
    settled.finally(() => (over = true)).catch(() => {});
    const asked: string[] = [];
    await waitFor("the restore, asking for a checkpoint all the while", async () => {
      const name = `between-${asked.length}`;
      await world.ask(name, { podReference: { name: pod.metadata.name } });
      asked.push(name);
      return over;
    });
    await settled;

    const ended = await Promise.all(asked.map((name) => world.ended(name)));
    const reasons = ended.map(({ status }) => status?.reason);
    expect(reasons, "no request came between crash and restore").toContain("RestoreInProgress");
    expect(await mark(world, pod)).toBe(1);
    await world.crash(pod);
    expect(await mark(world, pod)).toBe(1);
  });

  it("the newest crashes at once each time: it is passed over for the older one, which a later crash restores again", async () => {
    const pod = await deploy("poisoned");
    const { older, newer } = await checkpointTwice(pod);
    await forbid(world, pod, 2, 3);

    await poisoned(newer);
    const { restartCount } = await waitFor("the older one to be restored", async () => {
      const records = readRecords(await world.pod(pod.metadata.name));
      const { parent, restore } = records["app"] ?? {};
      return parent === older.metadata.name && restore === undefined && (await world.container(pod));
    });
    expect(await mark(world, pod)).toBe(1);
    expect(isPoisoned(await now(older))).toBe(false);

    await world.kill(pod);
    await world.settled(pod, restartCount);
    expect(await mark(world, pod)).toBe(1);
    expect(await world.image(pod)).toBe(older.status?.runtimeImage);
    // Each of three attempts, and no more, was a restore of the newer one.
    expect((await now(newer)).status?.restoredCount).toBe(3);
  });

  it("every one crashes at once each time: the pod runs afresh from the image that was recorded", async () => {
    const pod = await deploy("lost");
    const { older, newer } = await checkpointTwice(pod);
    const checkpointed = await world.crash(pod);
    const original = readRecords(await world.pod(pod.metadata.name))["app"]?.originalImage;
    expect(original).toBe(world.cluster.images.busybox);
    expect(checkpointed.restartCount).toBeGreaterThan(0);

    await forbid(world, pod, 1, 2);
    await poisoned(newer);
    await poisoned(older);
    await waitFor("a fresh start", async () => (await mark(world, pod)) === 0);
    expect(await world.image(pod)).toBe(original);
    await world.event("RestoreFailed", pod.metadata.name);
    await world.event("RestoreFailed", "lost");
    const { items } = await world.client.list(requests, { namespace: world.namespace });
    expect(items.filter((r) => r.spec.podReference.name === pod.metadata.name)).toHaveLength(2);
  });
});
