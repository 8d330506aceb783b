import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { pushImage } from "../../cluster/images.ts";
import { findCondition } from "../../src/api/conditions.ts";
import { API_VERSION } from "../../src/api/group.ts";
import { requests, schedules } from "../../src/api/kinds.ts";
import { deployments, type Pod } from "../../src/kube/resources.ts";
import type { Descriptor } from "../../src/oci/manifest.ts";
import { hasCapability, missing } from "../support/capability.ts";
import { Installation } from "../support/installation.ts";
import { advance, mark, marked, podVolumes } from "../support/programs.ts";
import { waitFor } from "../support/wait-for.ts";
import { counter, RARELY, World } from "../support/world.ts";

const cluster = inject("cluster");

describe.skipIf(cluster === undefined)("what cannot be is said, and nothing is touched:", () => {
  let world: World;
  /** A pod that runs well and is not protected. */
  let plain: Pod;
  beforeAll(async () => {
    world = await World.enter(cluster!, "refusals");
    plain = await world.deploy({ name: "plain", containers: [counter(world)] });
  });
  afterAll(() => world.leave());

  /** Crashes a marked container that has a good checkpoint, and expects it to begin anew, with the reason said. */
  async function startsAfresh(pod: Pod, image: string, reason: string): Promise<void> {
    await advance(world, pod);
    await world.checkpoint(pod);
    const status = await world.crash(pod);
    expect(status.restartCount).toBe(1);
    expect(await mark(world, pod)).toBe(0);
    expect(await world.image(pod)).toBe(image);
    const condition = await waitFor("the pod's condition", async () =>
      (await world.pod(pod.metadata.name)).status?.conditions?.find((c) => c.type === "kcr.io/Restored"),
    );
    expect(condition).toMatchObject({ status: "False", reason });
    await world.event(reason, pod.metadata.name);
  }

  it("imagePullPolicy Never", async () => {
    const { busybox } = world.cluster.images;
    const containers = [{ ...marked(world), imagePullPolicy: "Never" }];
    const pod = await world.deploy({ name: "never", schedule: RARELY, containers, podSpec: podVolumes });
    await startsAfresh(pod, busybox, "ImagePullPolicyNever");
  });

  it("a node whose runtime does not restore from images", async () => {
    const pod = await world.deploy({
      name: "newer",
      schedule: RARELY,
      containers: [marked(world)],
      podSpec: podVolumes,
      node: world.worker("2.4"),
    });
    await startsAfresh(pod, world.cluster.images.busybox, "StrategyUnavailable");
  });

  it("nothing of runAsNonRoot: a checkpoint image names its process's user", async () => {
    const { checkpointImage = "", imageDigest = "" } = (await world.checkpoint(plain)).status ?? {};
    await using registry = new Installation(world).registry();
    const { bytes } = await registry.getManifest(checkpointImage, imageDigest);
    const { config } = JSON.parse(bytes.toString()) as { config: Descriptor };
    const chunks = await Array.fromAsync(registry.getBlob(checkpointImage, config));
    expect(JSON.parse(Buffer.concat(chunks).toString())).toMatchObject({ config: { User: "0:0" } });
  });

  // CRIU asks the kernel for the limits of each process: of another user's only with this capability.
  it.skipIf(!hasCapability("SYS_RESOURCE"))(
    `nor is runAsNonRoot refused${missing("SYS_RESOURCE")}`,
    async () => {
      const image = await pushImage("busybox-nonroot", world.cluster.registry.push);
      const pod = await world.deploy({
        name: "nonroot",
        schedule: RARELY,
        containers: [{ ...marked(world), image }],
        podSpec: { ...podVolumes, securityContext: { runAsNonRoot: true } },
      });
      await advance(world, pod);
      await advance(world, pod);
      const checkpoint = await world.checkpoint(pod);
      await world.crash(pod);
      expect(await world.image(pod)).toBe(checkpoint.status?.runtimeImage);
      expect(await mark(world, pod)).toBe(1);
      expect((await world.exec(pod, ["id", "-u"])).trim()).toBe("65532");
    },
  );

  it("a cron expression with fields out of range", async () => {
    await world.deploy({ name: "cron", schedule: "99 99 99 99 99", containers: [counter(world)] });
    await world.event("InvalidSchedule", "cron");
    await waitFor("the Deployment's condition", async () => {
      const { status } = await world.client.get(deployments, { namespace: world.namespace, name: "cron" });
      const condition = status?.conditions?.find((c) => c.type === "kcr.io/Protected");
      return condition?.status === "False" && condition.reason === "InvalidSchedule";
    });
    await waitFor("the schedule's condition", async () => {
      const { status } = await world.schedule("cron");
      return findCondition(status?.conditions, "Ready")?.reason === "InvalidSchedule";
    });
  });

  it("a selector that matches nothing", async () => {
    await world.client.create(schedules, {
      apiVersion: API_VERSION,
      kind: schedules.kind,
      metadata: { namespace: world.namespace, name: "nobody" },
      spec: { schedule: "*/1 * * * *", selector: { matchLabels: { app: "nobody" } } },
    });
    await waitFor("the schedule's condition", async () => {
      const { status } = await world.schedule("nobody");
      return findCondition(status?.conditions, "Ready")?.reason === "NoMatchingPods";
    });
    await waitFor("a slot", async () => (await world.schedule("nobody")).status?.lastRunTime, {
      timeoutMs: 90_000,
    });
    await world.event("NoMatchingPods", "nobody");
    const { items } = await world.client.list(requests, { namespace: world.namespace });
    expect(items.filter((r) => r.metadata.labels?.["schedule-name"] === "nobody")).toEqual([]);
  });

  it("a container that does not exist", async () => {
    const { status } = await world.request("no-container", {
      podReference: { name: plain.metadata.name },
      containerName: "none",
    });
    expect(status).toMatchObject({ phase: "Failed", reason: "ContainerNotFound" });
    expect(status?.message).toContain("none");
    await world.event("ContainerNotFound", "no-container");
    await world.event("ContainerNotFound", plain.metadata.name);
  });

  it("another namespace's pod, although it runs", async () => {
    await using elsewhere = await World.enter(cluster!, "refusals");
    const { status } = await elsewhere.request("spy", {
      podReference: { name: plain.metadata.name, namespace: world.namespace },
      containerName: "app",
    });
    expect(status).toMatchObject({ phase: "Failed", reason: "PodInOtherNamespace" });
    expect(status?.checkpoint).toBeUndefined();
    const unnamed = await elsewhere.request("guess", { podReference: { name: plain.metadata.name } });
    expect(unnamed.status).toMatchObject({ phase: "Failed", reason: "PodNotFound" });
  });
});
