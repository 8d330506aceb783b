import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import type { Checkpoint } from "../../src/api/checkpoint.ts";
import { checkpoints, isGood, requests, schedules } from "../../src/api/kinds.ts";
import { isNotFound } from "../../src/kube/errors.ts";
import { controllerOf } from "../../src/kube/owner.ts";
import { deployments, type KubeObject, type Pod, type Resource } from "../../src/kube/resources.ts";
import { Installation } from "../support/installation.ts";
import { advance, mark, marked, podVolumes } from "../support/programs.ts";
import { waitFor } from "../support/wait-for.ts";
import { counter, RARELY, World } from "../support/world.ts";

const cluster = inject("cluster");
const EVERY_MINUTE = "*/1 * * * *";
/** The due time that is the end of a name, in seconds. */
const slotOf = ({ metadata }: KubeObject): number => Number(metadata.name.split("-").at(-1));
/** A slot comes within a minute, and its Checkpoint is good a few seconds later. */
const within = (n: number) => ({ timeoutMs: n * 60_000 + 60_000 });

// Side by side: most of their time they wait for the minute to be over.
describe.skipIf(cluster === undefined).concurrent("schedules", () => {
  let world: World;
  let kcr: Installation;
  beforeAll(async () => {
    world = await World.enter(cluster!, "schedule");
    kcr = new Installation(world);
  });
  afterAll(() => world.leave());

  const ofPod = <T extends KubeObject>(resource: Resource<T>, pod: Pod): Promise<T[]> =>
    world.client
      .list(resource, { namespace: world.namespace })
      .then(({ items }) => items.filter((item) => item.metadata.labels?.["pod"] === pod.metadata.name));

  /** Good Checkpoints of a pod that its schedule took, oldest first, once there are so many. */
  const scheduled = (pod: Pod, n = 1): Promise<Checkpoint[]> =>
    waitFor(
      `${n} good Checkpoints of schedule`,
      async () => {
        const good = (await ofPod(checkpoints, pod)).filter(isGood);
        const taken = good.filter((c) => c.spec.checkpointScheduleRef !== undefined);
        const oldestFirst = taken.sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
        return taken.length >= n && oldestFirst;
      },
      within(n),
    );

  const gone = <T extends KubeObject>(resource: Resource<T>, { metadata }: T): Promise<boolean> =>
    waitFor(`${resource.kind} ${metadata.name} to go`, () =>
      world.client.get(resource, metadata).then(() => false, isNotFound),
    );

  it("lead from annotation to good Checkpoint, once per slot, by the names and labels that others rely on", async () => {
    const pod = await world.deploy({ name: "chain", schedule: EVERY_MINUTE, containers: [counter(world)] });
    const deployment = await world.client.get(deployments, { namespace: world.namespace, name: "chain" });
    const schedule = await world.schedule("chain");
    expect(controllerOf(schedule)).toMatchObject({ kind: "Deployment", uid: deployment.metadata.uid });
    expect(schedule.spec).toMatchObject({
      schedule: EVERY_MINUTE,
      selector: { matchLabels: { app: "chain" } },
    });

    const taken = await scheduled(pod, 2);
    const asked = (await ofPod(requests, pod)).sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
    const slots = asked.map(slotOf);
    expect(slots).toEqual(slots.map((_, i) => slots[0]! + i * 60));
    expect(new Set(taken.map(slotOf)).size).toBe(taken.length);
    const { namespace } = world;
    const { name } = pod.metadata;
    for (const checkpoint of taken) {
      const time = slotOf(checkpoint);
      expect(time % 60).toBe(0);
      const request = asked.find((r) => r.metadata.name === `chain-${name}-${time}`)!;
      expect(request.metadata.labels).toEqual({
        ...{ app: "checkpoint-restore", "schedule-name": "chain" },
        ...{ pod: name, "pod-ns": namespace },
      });
      expect(controllerOf(request)).toMatchObject({ kind: "CheckpointSchedule", uid: schedule.metadata.uid });
      expect(request.spec).toMatchObject({
        podReference: { name, namespace },
        containerName: "app",
        timeoutSeconds: 300,
        checkpointScheduleRef: { name: "chain" },
      });
      expect(request.status).toMatchObject({
        phase: "Completed",
        checkpoint: { name: checkpoint.metadata.name },
      });
      expect(checkpoint.metadata.name).toBe(`${name}-${namespace}-${time}`);
      // And its pod's own, by which policies select it.
      expect(checkpoint.metadata.labels).toMatchObject({
        ...{ app: "chain", "kcr.io/workload": expect.any(String) },
        ...{ pod: name, "pod-ns": namespace, container: "app" },
        "checkpoint-request-name": `chain-${name}-${time}`,
      });
      expect(controllerOf(checkpoint)).toMatchObject({
        kind: "CheckpointRequest",
        uid: request.metadata.uid,
      });
      expect(checkpoint.spec).toMatchObject({
        schedule: EVERY_MINUTE,
        selector: { matchLabels: { app: "chain" } },
        checkpointID: checkpoint.metadata.name,
        nodeName: pod.spec?.nodeName,
      });
      expect(checkpoint.status).toMatchObject({ phase: "ImageBuilt", checkpointImage: expect.any(String) });
      expect(await kcr.layersOf(checkpoint)).toHaveLength(1);
    }
    const { lastRunTime = "", nextRunTime = "" } = (await world.schedule("chain")).status ?? {};
    expect(Date.parse(lastRunTime) / 1000).toBeGreaterThanOrEqual(slots.at(-1)!);
    // A schedule acts up to a tenth of the time between its slots later, always at the same place of its own.
    const ahead = Date.parse(nextRunTime) - Date.parse(lastRunTime);
    expect([ahead >= 60_000, ahead < 66_000], `${ahead} ms`).toEqual([true, true]);
  });

  it("of one name in two namespaces: each container comes back with its own state, from a repository of its own", async () => {
    await using elsewhere = await World.enter(cluster!, "schedule");
    const options = { name: "twin", schedule: RARELY, podSpec: podVolumes };
    const worlds = [world, elsewhere];
    const pods = await Promise.all(worlds.map((w) => w.deploy({ ...options, containers: [marked(w)] })));
    const [one, two] = pods as [Pod, Pod];
    await advance(world, one);
    await advance(elsewhere, two);
    await advance(elsewhere, two);
    const [mine, theirs] = [await world.checkpoint(one), await elsewhere.checkpoint(two)];
    expect(mine.status?.checkpointImage).toContain(`/${world.namespace}/`);
    expect(theirs.status?.checkpointImage).toContain(`/${elsewhere.namespace}/`);

    await Promise.all([world.crash(one), elsewhere.crash(two)]);
    expect(await mark(world, one)).toBe(1);
    expect(await mark(elsewhere, two)).toBe(2);
  });

  it("of a Deployment with a name of 60 characters: its container is captured and restored", async () => {
    const name = `long-${"n".repeat(55)}`;
    const containers = [marked(world)];
    const pod = await world.deploy({ name, schedule: EVERY_MINUTE, containers, podSpec: podVolumes });
    await advance(world, pod);
    await scheduled(pod);
    await world.crash(pod);
    expect(await mark(world, pod)).toBe(1);
    for (const { metadata } of await ofPod(checkpoints, pod)) {
      expect(metadata.name).toContain(`-${world.namespace}-`);
      expect(metadata.labels?.["checkpoint-request-name"]?.length).toBeLessThanOrEqual(63);
    }
  });

  it.for([
    {
      name: "unannotated",
      end: "whose annotation is removed",
      act: () => world.annotate("unannotated", null),
    },
    {
      name: "deleted",
      end: "whose Deployment is deleted",
      act: () => world.client.delete(deployments, { namespace: world.namespace, name: "deleted" }),
    },
  ])(
    "$end go with all that existed only for them, bytes too; a Checkpoint on demand stays",
    async ({ name, act }) => {
      const pod = await world.deploy({ name, schedule: EVERY_MINUTE, containers: [counter(world)] });
      const own = await world.checkpoint(pod);
      const taken = await scheduled(pod);
      expect(await kcr.layersOf(taken[0]!)).toHaveLength(1);
      const schedule = await world.schedule(name);

      await act();

      await gone(schedules, schedule);
      const lives = await waitFor("only the Checkpoint on demand to be left", async () => {
        const left = await ofPod(checkpoints, pod);
        return left.length === 1 && left;
      });
      await waitFor("the schedule's requests to go", async () => {
        const { items } = await world.client.list(requests, { namespace: world.namespace });
        return items.every((r) => r.metadata.labels?.["schedule-name"] !== name);
      });
      for (const checkpoint of taken) expect(await kcr.layersOf(checkpoint)).toBeUndefined();
      const archives = await kcr.ownArchives(pod.spec?.nodeName ?? "");
      expect(archives.filter((archive) => archive.includes(pod.metadata.name))).toEqual([]);
      expect(lives[0]?.metadata.uid).toBe(own.metadata.uid);
      expect(isGood(lives[0]!)).toBe(true);
      expect(await kcr.layersOf(own)).toHaveLength(1);
    },
  );

  it("apart: a Checkpoint that is deleted takes its own manifest with it, and no other", async () => {
    const pod = await world.deploy({ name: "single", containers: [counter(world)] });
    const [first, second] = [await world.checkpoint(pod), await world.checkpoint(pod)];
    expect(await kcr.layersOf(first)).toHaveLength(1);

    await world.client.delete(checkpoints, first.metadata);

    await gone(checkpoints, first);
    expect(await kcr.layersOf(first)).toBeUndefined();
    expect(await kcr.layersOf(second)).toHaveLength(1);
  });
});
