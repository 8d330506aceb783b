import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { checkpoints, isGood, requests } from "../../src/api/kinds.ts";
import type { KubeObject } from "../../src/kube/resources.ts";
import { advance, greedy, mark, marked, onceOnly, podVolumes, podWithLink } from "../support/programs.ts";
import { waitFor } from "../support/wait-for.ts";
import { counter, RARELY, World } from "../support/world.ts";

const cluster = inject("cluster");

describe.skipIf(cluster === undefined)("containers of a pod", () => {
  let world: World;
  beforeAll(async () => {
    world = await World.enter(cluster!, "containers");
  });
  afterAll(() => world.leave());

  it("the second crashes: it alone is restored, the first is not touched", async () => {
    const pod = await world.deploy({
      name: "second",
      schedule: RARELY,
      containers: [counter(world), marked(world)],
      podSpec: podVolumes,
    });
    await world.amend("second", { containers: ["app", "app-1"] });
    await advance(world, pod, "app-1");
    await world.checkpoint(pod, "app");
    const checkpoint = await world.checkpoint(pod, "app-1");
    expect(checkpoint.spec.containerName).toBe("app-1");
    const first = await world.container(pod, "app");

    await world.crash(pod, "app-1");

    expect(await world.image(pod, "app-1")).toBe(checkpoint.status?.runtimeImage);
    expect(await mark(world, pod, "app-1")).toBe(1);
    expect(await world.image(pod, "app")).toBe(world.cluster.images.busybox);
    expect(await world.container(pod, "app")).toMatchObject({
      containerID: first.containerID,
      restartCount: 0,
    });
  });

  it("both are captured in one slot: two requests, two good Checkpoints, names apart", async () => {
    const pod = await world.deploy({
      name: "both",
      schedule: "*/1 * * * *",
      containers: [counter(world), counter(world)],
    });
    await world.amend("both", { containers: ["app", "app-1"] });
    const { name } = pod.metadata;
    const { namespace } = world;
    const slotOf = ({ metadata }: KubeObject) => metadata.name.split("-").at(-1);
    const slot = await waitFor(
      "a slot with two good Checkpoints",
      async () => {
        const { items } = await world.client.list(checkpoints, { namespace, labelSelector: `pod=${name}` });
        return Object.entries(Object.groupBy(items.filter(isGood), (c) => slotOf(c) ?? "")).find(
          ([, taken]) => taken?.length === 2,
        );
      },
      { timeoutMs: 130_000 },
    );
    const [time, taken = []] = slot;
    expect(taken.map((c) => [c.metadata.name, c.spec.containerName]).sort()).toEqual([
      [`${name}-${namespace}-${time}`, "app"],
      [`${name}-${namespace}-app-1-${time}`, "app-1"],
    ]);
    const { items } = await world.client.list(requests, { namespace, labelSelector: `pod=${name}` });
    const asked = items.filter((request) => slotOf(request) === time);
    expect(asked.map((request) => request.metadata.name).sort()).toEqual([
      `both-${name}-${time}`,
      `both-${name}-app-1-${time}`,
    ]);
  });

  it("a native sidecar crashes: it is restored as any other", async () => {
    const pod = await world.deploy({
      name: "sidecar",
      schedule: RARELY,
      containers: [counter(world)],
      podSpec: {
        ...podVolumes,
        initContainers: [{ name: "sidecar", restartPolicy: "Always", ...marked(world) }],
      },
    });
    await world.amend("sidecar", { containers: ["sidecar"] });
    await advance(world, pod, "sidecar");
    const checkpoint = await world.checkpoint(pod, "sidecar");

    await world.crash(pod, "sidecar");

    expect(await world.image(pod, "sidecar")).toBe(checkpoint.status?.runtimeImage);
    expect(await mark(world, pod, "sidecar")).toBe(1);
    expect((await world.container(pod, "app")).restartCount).toBe(0);
  });

  it("one is killed for its memory (OOMKilled, not Error): it is restored", async () => {
    const pod = await world.deploy({ name: "oom", schedule: RARELY, containers: [greedy(world)] });
    await advance(world, pod);
    const checkpoint = await world.checkpoint(pod);
    const { restartCount } = await world.container(pod);

    await world.exec(pod, ["touch", "/tmp/grow"]);
    await waitFor("the container to be killed for its memory", async () => {
      const { state, lastState } = await world.container(pod);
      return [state?.terminated, lastState?.terminated].some((end) => end?.reason === "OOMKilled");
    });
    await world.settled(pod, restartCount);

    expect(await world.image(pod)).toBe(checkpoint.status?.runtimeImage);
    expect(await mark(world, pod)).toBe(1);
  });

  it("one cannot start afresh and never runs again (CrashLoopBackOff): how it ended before is enough to restore it", async () => {
    const pod = await world.deploy({
      name: "loop",
      schedule: RARELY,
      containers: [onceOnly(world)],
      podSpec: podWithLink(world),
    });
    await advance(world, pod);
    const checkpoint = await world.checkpoint(pod);

    await world.crash(pod);

    expect(await world.image(pod)).toBe(checkpoint.status?.runtimeImage);
    expect(await mark(world, pod)).toBe(1);
  });
});
