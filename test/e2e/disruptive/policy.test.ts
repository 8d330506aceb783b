import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { configMaps, type Pod } from "../../../src/kube/resources.ts";
import { advance, mark, marked, podVolumes } from "../../support/programs.ts";
import { waitFor } from "../../support/wait-for.ts";
import { RARELY, World } from "../../support/world.ts";

const cluster = inject("cluster");
const POLICY = { namespace: "kcr-system", name: "kcr-policy" };

describe.skipIf(cluster === undefined)("policies that were told of another registry than kcr's", () => {
  let world: World;
  beforeAll(async () => {
    world = await World.enter(cluster!, "policy");
  });
  afterAll(() => world.leave());

  const tell = (repository: string) =>
    world.client.patch(configMaps, POLICY, { type: "merge", body: { data: { repository } } });

  it("let kcr give a pod no image; that is said, and the container restored once they are told right", async () => {
    const pod: Pod = await world.deploy({
      name: "forbidden",
      schedule: RARELY,
      containers: [marked(world)],
      podSpec: podVolumes,
    });
    await advance(world, pod);
    const checkpoint = await world.checkpoint(pod);
    const before = await world.container(pod);
    const { repository = "" } = (await world.client.get(configMaps, POLICY)).data ?? {};
    await tell("registry.example.com/kcr/");
    try {
      await world.kill(pod);
      const { note } = await world.event("ImageForbidden", pod.metadata.name);
      expect(note).toContain("kcr-operator-pods");
      await world.event("ImageForbidden", "forbidden");
      expect(await world.image(pod)).toBe(world.cluster.images.busybox);
    } finally {
      await tell(repository);
    }
    await waitFor(
      "the container to be given its checkpoint",
      async () => (await world.image(pod)) === checkpoint.status?.runtimeImage,
    );
    await world.settled(pod, before.restartCount + 1);
    expect(await mark(world, pod)).toBe(1);
  });
});
