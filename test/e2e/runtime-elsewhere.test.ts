import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { pushImage } from "../../cluster/images.ts";
import type { Checkpoint } from "../../src/api/checkpoint.ts";
import { API_VERSION } from "../../src/api/group.ts";
import { isTerminal, restores } from "../../src/api/kinds.ts";
import { RESTORE_FROM_ANNOTATION } from "../../src/api/labels.ts";
import type { CheckpointRestore } from "../../src/api/restore.ts";
import type { Pod } from "../../src/kube/resources.ts";
import { advance, carrier, mark } from "../support/programs.ts";
import { capture, deployProtected, handlersReady, nextRun } from "../support/runtime.ts";
import { waitFor } from "../support/wait-for.ts";
import { RARELY, World } from "../support/world.ts";

const cluster = inject("cluster");

const volumeMounts = [{ name: "data", mountPath: "/data" }];
const volumes = [{ name: "data", emptyDir: {} }];

/** A new pod that is stamped to take over a state waits for it, and gets it where the state is one for it. */
describe.skipIf(cluster === undefined)("a state that another pod is to take over", () => {
  let world: World;
  let source: Pod;
  let taken: Checkpoint;
  beforeAll(async () => {
    world = await World.enter(cluster!, "elsewhere");
    await handlersReady(world);
    source = await deployProtected(world, {
      name: "source",
      schedule: RARELY,
      node: world.worker("2.4"),
      containers: [container()],
      podSpec: { volumes },
    });
    await advance(world, source);
    await world.exec(source, ["sh", "-c", "echo kept >/data/file; echo kept >/file"]);
    taken = await capture(world, source);
    await advance(world, source);
  });
  afterAll(() => world.leave());

  const container = () => ({
    ...carrier(world),
    name: "app",
    volumeMounts,
    env: [
      { name: "COLOUR", value: "red" },
      { name: "POD", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
    ],
  });

  /** A pod as kcr's webhook leaves it that a controller made to replace another. Nobody else may stamp it. */
  async function stamped(
    name: string,
    node: string,
    changes: object = {},
    ...kubectl: string[]
  ): Promise<void> {
    const pod = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        name,
        namespace: world.namespace,
        annotations: { [RESTORE_FROM_ANNOTATION]: taken.metadata.name },
      },
      spec: {
        nodeName: node,
        runtimeClassName: "kcr",
        terminationGracePeriodSeconds: 1,
        automountServiceAccountToken: false,
        containers: [{ ...container(), ...changes }],
        volumes,
      },
    };
    await world.cluster.kubectl(["create", "-f", "-", ...kubectl], { input: JSON.stringify(pod) });
  }
  const asController = "--as=system:serviceaccount:kube-system:replicaset-controller";

  /** Asks for the state in a pod, and waits until it was given or refused. */
  async function restoreIn(name: string): Promise<CheckpointRestore> {
    await world.client.create(restores, {
      apiVersion: API_VERSION,
      kind: restores.kind,
      metadata: { namespace: world.namespace, name },
      spec: { checkpointName: taken.metadata.name, podReference: { name }, containerName: "app" },
    });
    return await waitFor(
      `CheckpointRestore ${name} to end`,
      async () => {
        const restore = await world.client.get(restores, { namespace: world.namespace, name });
        return isTerminal(restore) && restore;
      },
      { timeoutMs: 150_000 },
    );
  }

  it.each(["2.4", "2.3"] as const)(
    "is its own from then on, on a node with containerd %s",
    async (containerd) => {
      const name = `heir-${containerd.replace(".", "-")}`;
      await stamped(name, world.worker(containerd), {}, asController);
      expect((await restoreIn(name)).status).toMatchObject({ phase: "Completed" });
      const heir = await world.pod(name);
      await nextRun(world, heir, -1);
      expect(await mark(world, heir)).toBe(1);
      expect(await world.container(heir)).toMatchObject({ restartCount: 0 });
      expect(await world.exec(heir, ["cat", "/data/file", "/file"])).toBe("kept\nkept\n");
      // The process keeps its old environment, and is told so; its host has the new pod's name.
      expect((await world.exec(heir, ["hostname"])).trim()).toBe(name);
      expect(JSON.parse(await world.exec(heir, ["cat", "/run/kcr/restored"]))).toMatchObject({
        from: taken.metadata.name,
      });
      expect(await mark(world, source)).toBe(2);
    },
  );

  it.each([
    ["environment", { env: [{ name: "COLOUR", value: "blue" }] }, "COLOUR"],
    ["mounts", { volumeMounts: [] }, "/data"],
    ["command", { args: ["more"] }, "command"],
  ])(
    "is not one for another %s: that begins afresh, and the difference is named",
    async (what, changes, named) => {
      const name = `other-${what}`;
      await stamped(name, world.worker("2.4"), changes, asController);
      const { status } = await restoreIn(name);
      expect(status).toMatchObject({ phase: "Failed", reason: "SpecChanged" });
      expect(status?.message).toContain(named);
      expect((await world.event("RestoreFailed", name)).note).toContain(named);
      await world.event("StartedFresh", name);
      const pod = await world.pod(name);
      await nextRun(world, pod, -1);
      expect(await mark(world, pod)).toBe(0);
    },
  );

  it("is not one for an image of another digest: refused, and what runs there is left alone", async () => {
    const image = await pushImage("busybox-nonroot", world.cluster.registry.push);
    const pod = await deployProtected(world, {
      name: "image",
      schedule: RARELY,
      node: world.worker("2.4"),
      containers: [{ ...container(), image, securityContext: { runAsUser: 0, runAsGroup: 0 } }],
      podSpec: { volumes },
    });
    await advance(world, pod);
    await advance(world, pod);
    const { status } = await restoreIn(pod.metadata.name);
    expect(status).toMatchObject({ phase: "Failed", reason: "ImageDiffers" });
    expect(status?.message).toContain(taken.status?.baseImageDigest?.split("@").at(-1));
    expect(await mark(world, pod)).toBe(2);
    expect(await world.container(pod)).toMatchObject({ restartCount: 0 });
  });

  it("is given to no pod that a person stamps", async () => {
    await expect(stamped("thief", world.worker("2.4"))).rejects.toThrow("is set by kcr alone");
  });
});
