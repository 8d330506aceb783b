import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { runtimeID } from "../../../src/api/pod.ts";
import type { Pod } from "../../../src/kube/resources.ts";
import { Installation } from "../../support/installation.ts";
import { advance, carrier, mark } from "../../support/programs.ts";
import { capture, deployProtected, handlersReady, saidRestored } from "../../support/runtime.ts";
import { fill, type Store, stores, Watch } from "../../support/stores.ts";
import { waitFor } from "../../support/wait-for.ts";
import { RARELY, World } from "../../support/world.ts";

const cluster = inject("cluster");
const redis = stores.find(({ name }) => name === "Redis")!;
const python = stores.find(({ name }) => name.startsWith("Python"))!;

describe.skipIf(cluster === undefined)("what the handler restores, whoever is down:", () => {
  let world: World;
  let kcr: Installation;
  beforeAll(async () => {
    world = await World.enter(cluster!, "outage");
    kcr = new Installation(world);
    await handlersReady(world);
  });
  afterAll(async () => {
    await world.cluster.waitReady();
    await kcr.whole();
    await world.leave();
  });

  const addressOf = async (pod: Pod) => (await world.pod(pod.metadata.name)).status?.podIP ?? "";

  /** A store that was captured with 60 keys and has 80. */
  async function deployStore(name: string, store: Store, node: string): Promise<Pod> {
    const containers = [await store.container(world)];
    const pod = await deployProtected(world, { name, schedule: RARELY, node, containers });
    const ip = await addressOf(pod);
    await fill(store, ip, "kept", 60);
    await capture(world, pod);
    await fill(store, ip, "lost", 20);
    return pod;
  }

  it("agents, operators and the API server, while a container crashes", async () => {
    const pod = await deployStore("alone", redis, world.worker("2.4"));
    const ip = await addressOf(pod);
    const id = runtimeID((await world.container(pod)).containerID) ?? "";
    await kcr.withoutAnybody(async () => {
      await world.cluster.stopPart("kube-apiserver");
      try {
        await using watch = new Watch(redis, ip);
        await waitFor("a first answer", () => watch.answers.length > 0);
        const kill = ["ctr", "-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL", id];
        await world.cluster.nodeExec(pod.spec?.nodeName ?? "", kill);
        await waitFor("its answer as of the checkpoint", () => watch.answers.at(-1) === 60);
        expect(watch.answers).toEqual([80, 60]);
      } finally {
        await world.cluster.startPart("kube-apiserver");
        await world.cluster.waitReady();
      }
    });
    // Who comes back tells what was done meanwhile.
    await saidRestored(world, pod, "alone");
    expect(await world.container(pod)).toMatchObject({ restartCount: 1 });
  });

  describe("nodes", () => {
    let protectedPods: { pod: Pod; store?: Store }[];
    beforeAll(async () => {
      protectedPods = [];
      for (const containerd of ["2.3", "2.4"] as const) {
        const node = world.worker(containerd);
        const name = `shell-${node}`;
        const shell = await deployProtected(world, {
          name,
          schedule: RARELY,
          node,
          containers: [carrier(world)],
        });
        await advance(world, shell);
        await capture(world, shell);
        // Told to end, Redis does so with exit code 0, and Python does not hear of it.
        protectedPods.push(
          { pod: shell },
          { store: redis, pod: await deployStore(`redis-${node}`, redis, node) },
          { store: python, pod: await deployStore(`python-${node}`, python, node) },
        );
      }
    });

    const workers = () => world.cluster.nodes.map(({ name }) => name);

    it.each<[how: string, stop: () => Promise<string[]>]>([
      [
        "one, stopped as init stops it",
        async () => {
          await world.cluster.stopNode(world.worker("2.4"));
          return [world.worker("2.4")];
        },
      ],
      [
        "one, whose power goes",
        async () => {
          await world.cluster.stopNode(world.worker("2.3"), { kill: true });
          return [world.worker("2.3")];
        },
      ],
      [
        "all of them, stopped at once",
        async () => {
          const all = [...workers(), "control-plane"];
          await Promise.all(all.map((node) => world.cluster.stopNode(node)));
          return all;
        },
      ],
      [
        "all of them, whose power goes at once",
        async () => {
          const all = [...workers(), "control-plane"];
          await Promise.all(all.map((node) => world.cluster.stopNode(node, { kill: true })));
          return all;
        },
      ],
    ])("%s, and started again", { timeout: 600_000 }, async (_, stop) => {
      const before = await Promise.all(protectedPods.map(({ pod }) => world.container(pod)));
      for (const { pod, store } of protectedPods) {
        if (store === undefined) await advance(world, pod);
        else await fill(store, await addressOf(pod), "late", 5);
      }

      const stopped = await stop();
      for (const node of stopped) await world.cluster.startNode(node);
      await world.cluster.waitReady({ timeoutMs: 180_000 });

      for (const [i, { pod, store }] of protectedPods.entries()) {
        const { name, uid } = pod.metadata;
        if (stopped.includes(pod.spec?.nodeName ?? "")) {
          await waitFor(
            `${name} to run again`,
            async () => {
              const now = await world.container(pod);
              return now.containerID !== before[i]?.containerID && now.ready;
            },
            { timeoutMs: 240_000 },
          );
          if (store === undefined) expect(await mark(world, pod), name).toBe(1);
          else expect(await store.count(await addressOf(pod)), name).toBe(60);
        } else {
          expect((await world.container(pod)).containerID, name).toBe(before[i]?.containerID);
        }
        expect((await world.pod(name)).metadata.uid).toBe(uid);
      }
    });
  });
});
