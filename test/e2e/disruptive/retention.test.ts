import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import type { Checkpoint } from "../../../src/api/checkpoint.ts";
import { API_VERSION } from "../../../src/api/group.ts";
import { checkpoints, clusterRetentions, requests, retentions } from "../../../src/api/kinds.ts";
import { PRESSURE_ANNOTATION } from "../../../src/api/labels.ts";
import { isNotFound } from "../../../src/kube/errors.ts";
import { nodes, type Pod } from "../../../src/kube/resources.ts";
import { Installation } from "../../support/installation.ts";
import { advance, carrier, mark } from "../../support/programs.ts";
import { capture, crash, deployProtected, handlersReady, planned } from "../../support/runtime.ts";
import { waitFor } from "../../support/wait-for.ts";
import { RARELY, World } from "../../support/world.ts";

const cluster = inject("cluster");
const ARCHIVES = "/var/lib/kubelet/checkpoints";
/** Taken of each of two containers, and how many of them are to stay: what runs never has fewer good ones. */
const TAKEN = 4;
const KEPT = 2;

describe.skipIf(cluster === undefined)("what no policy keeps", () => {
  let world: World;
  let kcr: Installation;
  beforeAll(async () => {
    world = await World.enter(cluster!, "retention");
    kcr = new Installation(world);
    await handlersReady(world);
  });
  afterAll(() => world.leave());

  /** Bytes below a directory of a node's, as its disk has them: what several names share counts once. */
  const bytesIn = async (node: string, directory: string): Promise<number> =>
    Number(
      (await world.cluster.nodeExec(node, ["du", "-s", "-B1", "--apparent-size", directory])).split("\t")[0],
    );
  const inRegistry = () => bytesIn("control-plane", "/var/lib/registry");
  const collectGarbage = async (): Promise<void> => {
    await world.cluster.stopPart("registry");
    await world.cluster.nodeExec("control-plane", ["registry", "garbage-collect", "/etc/kcr/registry.yaml"]);
    await world.cluster.startPart("registry");
    await world.cluster.waitReady();
  };
  const sizes = (all: Checkpoint[]) => all.reduce((sum, { status }) => sum + (status?.sizeBytes ?? 0), 0);
  const gone = async ({ metadata }: Checkpoint): Promise<boolean> =>
    await world.client.get(checkpoints, metadata).then(() => false, isNotFound);

  it("goes from two nodes and the registry, to the byte; what stays can be restored", {
    timeout: 420_000,
  }, async () => {
    // Some megabytes, so that what goes stands out.
    const program = () => carrier(world, { before: ["x=$(head -c 1500000 /dev/urandom | od -An -tx1 -v)"] });
    const [one, other] = await Promise.all(
      (["2.3", "2.4"] as const).map((containerd) =>
        deployProtected(world, {
          name: containerd === "2.3" ? "one" : "other",
          schedule: RARELY,
          node: world.worker(containerd),
          containers: [program()],
        }),
      ),
    );
    const before = await inRegistry();
    const taken = new Map<Pod, Checkpoint[]>();
    const takeAll = async (pod: Pod): Promise<void> => {
      const own: Checkpoint[] = [];
      taken.set(pod, own);
      for (let i = 0; i < TAKEN; i++) {
        expect(await advance(world, pod)).toBe(i + 1);
        own.push(await capture(world, pod));
      }
    };
    await Promise.all([takeAll(one!), takeAll(other!)]);
    const pushed = await waitFor("all to be pushed", async () => {
      const all = await Promise.all(
        [...taken.values()].flat().map(({ metadata }) => world.client.get(checkpoints, metadata)),
      );
      return all.every(({ status }) => status?.imageDigest !== undefined) && all;
    });
    const full = await inRegistry();
    expect(full - before).toBeGreaterThanOrEqual(sizes(pushed));
    const onDisk = new Map<Pod, number>();
    for (const pod of taken.keys())
      onDisk.set(pod, await bytesIn(pod.spec?.nodeName ?? "", "/var/lib/kcr/store"));

    await world.client.create(retentions, {
      apiVersion: API_VERSION,
      kind: retentions.kind,
      metadata: { name: "few", namespace: world.namespace },
      spec: { keepLast: KEPT, maxCount: KEPT },
    });
    const goes = [...taken.values()].flatMap((own) => own.slice(0, TAKEN - KEPT));
    const stays = [...taken.values()].flatMap((own) => own.slice(TAKEN - KEPT));
    for (const checkpoint of goes)
      await waitFor(`${checkpoint.metadata.name} to go`, () => gone(checkpoint), { timeoutMs: 120_000 });
    for (const checkpoint of stays) expect(await gone(checkpoint)).toBe(false);

    // The registry has forgotten the images, and keeps their bytes until it collects its garbage.
    const now = (all: Checkpoint[]) =>
      pushed.filter(({ metadata }) => all.some((c) => c.metadata.uid === metadata.uid));
    for (const checkpoint of now(goes)) expect(await kcr.layersOf(checkpoint)).toBeUndefined();
    for (const checkpoint of now(stays)) expect(await kcr.layersOf(checkpoint)).toHaveLength(1);
    expect(full - (await inRegistry())).toBeLessThan(100_000);
    await collectGarbage();
    expect(full - (await inRegistry())).toBeGreaterThanOrEqual(sizes(now(goes)));
    for (const checkpoint of now(stays)) expect(await kcr.layersOf(checkpoint)).toHaveLength(1);

    for (const [pod, own] of taken) {
      const node = pod.spec?.nodeName ?? "";
      // By default the three newest have copies: one of them went.
      const freed = (onDisk.get(pod) ?? 0) - (await bytesIn(node, "/var/lib/kcr/store"));
      expect(freed).toBeGreaterThan(3_000_000);
      expect(await kcr.ownArchives(node)).toEqual([]);
      await planned(world, pod, own.at(-1)!);
      await crash(world, pod);
      expect(await mark(world, pod), `in place on ${node}`).toBe(TAKEN);
    }
    // Requests whose Checkpoints went are for a person to see for a while.
    expect((await world.client.list(requests, { namespace: world.namespace })).items).toHaveLength(2 * TAKEN);
  });

  it("of archives that others made goes when the cluster says so, and only then", async () => {
    const node = world.worker("2.3");
    const agent = await kcr.agent(node);
    const stray = `checkpoint-else_${world.namespace}-app-2026-01-01T00:00:00Z.tar`;
    await world.cluster.nodeExec(node, ["touch", "-d", "5 hours ago", `${ARCHIVES}/${stray}`]);
    const startAgain = async (): Promise<void> => {
      const pod = await kcr.agent(node);
      await kcr.signal(pod, "SIGTERM");
      await kcr.ended(pod);
      await kcr.whole();
    };
    const policy = await world.client.create(clusterRetentions, {
      apiVersion: API_VERSION,
      kind: clusterRetentions.kind,
      metadata: { name: world.namespace },
      spec: { foreignArchives: { maxAge: "6h" } },
    });
    try {
      await startAgain();
      await waitFor(
        "the agent to be at work",
        async () => (await kcr.metric(await kcr.agent(node), "kcr_disk_room_bytes")) > 0,
      );
      expect(await kcr.archives(node)).toContain(stray);
      await world.client.patch(clusterRetentions, policy.metadata, {
        type: "merge",
        body: { spec: { foreignArchives: { maxAge: "4h" } } },
      });
      await startAgain();
      await waitFor("it to go", async () => !(await kcr.archives(node)).includes(stray));
      expect(agent.spec?.nodeName).toBe(node);
    } finally {
      await world.client.delete(clusterRetentions, policy.metadata);
    }
  });

  it("is not added to while a disk is short: nothing is frozen, and node, request and metric say so", async () => {
    const pod = await world.deploy({ name: "short", containers: [carrier(world)] });
    const node = pod.spec?.nodeName ?? "";
    const pressure = async () =>
      (await world.client.get(nodes, { name: node })).metadata.annotations?.[PRESSURE_ANNOTATION];
    await kcr.withFullDisk(node, ARCHIVES, async () => {
      const { status } = await world.request("short", { podReference: { name: pod.metadata.name } });
      expect(status).toMatchObject({ phase: "Failed", reason: "DiskPressure" });
      // The deadline for a dump never ran: it was refused before.
      expect(status?.startTime).toBeUndefined();
      await world.event("DiskPressure", pod.metadata.name);
      await waitFor("the node to say so", async () => (await pressure())?.includes(ARCHIVES));
      expect(await kcr.metric(await kcr.agent(node), "kcr_disk_pressure")).toBe(1);
    });
    await waitFor("the node to say so no more", async () => (await pressure()) === undefined);
    await world.checkpoint(pod);
  });
});
