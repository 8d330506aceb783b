import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { ARCHIVE_FINALIZER, type Checkpoint } from "../../../src/api/checkpoint.ts";
import { checkpoints, isGood, requests } from "../../../src/api/kinds.ts";
import { runtimeID } from "../../../src/api/pod.ts";
import { type Pod, pods } from "../../../src/kube/resources.ts";
import { ARCHIVES, Installation } from "../../support/installation.ts";
import { waitFor } from "../../support/wait-for.ts";
import { RARELY, redis, redisCommand, World } from "../../support/world.ts";

const cluster = inject("cluster");
/** Where containerd keeps what it knows of containers, and has CRIU write the log of a dump. */
const CONTAINERS = "/var/lib/containerd/io.containerd.grpc.v1.cri/containers";
/** Large enough that its dump and its push each take a second or more. */
const LARGE_BYTES = 200_000_000;
/** Large enough that its archive is not written in a moment. */
const LARGER_BYTES = 500_000_000;

describe.skipIf(cluster === undefined)("killed", () => {
  let world: World;
  let kcr: Installation;
  beforeAll(async () => {
    world = await World.enter(cluster!, "kills");
    kcr = new Installation(world);
  });
  afterAll(async () => {
    await kcr.whole();
    await world.leave();
  });

  /** A Redis with much in its memory, so that there is time to kill whoever is busy with it. */
  async function deployLarge(name: string, bytes = LARGE_BYTES): Promise<{ pod: Pod; ip: string }> {
    const pod = await world.deploy({ name, schedule: RARELY, containers: [redis(world)] });
    const ip = pod.status?.podIP ?? "";
    await redisCommand(ip, `SETRANGE large ${bytes - 1} x`, 20_000);
    expect(await redisCommand(ip, `SET name ${name}`)).toBe("+OK");
    return { pod, ip };
  }

  const request = (name: string) => world.client.get(requests, { namespace: world.namespace, name });

  const inProgress = (name: string) =>
    waitFor(
      `request ${name} to be in progress`,
      async () => (await request(name)).status?.phase === "InProgress",
      { intervalMs: 20 },
    );

  /** Every Checkpoint of a pod, by its label. */
  async function checkpointsOf(pod: Pod): Promise<Checkpoint[]> {
    const labelSelector = `pod=${pod.metadata.name}`;
    return (await world.client.list(checkpoints, { namespace: world.namespace, labelSelector })).items;
  }

  const idOf = (pod: Pod) => runtimeID(pod.status?.containerStatuses?.[0]?.containerID);
  const nodeOf = (pod: Pod) => pod.spec?.nodeName ?? "";

  it("operators, while a request is in progress: it ends, with one Checkpoint, and a crash is restored", async () => {
    const { pod, ip } = await deployLarge("operators");
    await world.ask("operators", { podReference: { name: pod.metadata.name } });
    await inProgress("operators");
    await kcr.killOperators();

    expect((await world.ended("operators")).status?.phase).toBe("Completed");
    const taken = await checkpointsOf(pod);
    expect(taken).toHaveLength(1);
    await world.good(taken[0]!.metadata.name);

    // Nobody is there when it crashes.
    const before = await world.container(pod);
    for (const { metadata } of await kcr.operators()) {
      await world.client.delete(pods, metadata, { gracePeriodSeconds: 0 });
    }
    await world.kill(pod);
    await world.settled(pod, before.restartCount);
    expect(await redisCommand(ip, "GET name")).toContain("operators");
    expect(await checkpointsOf(pod)).toHaveLength(1);
  });

  const killAgentOnce = (condition: (pod: Pod) => string) => async (node: string, pod: Pod) =>
    await kcr.killOnce(await kcr.agent(node), condition(pod));

  let dumps = 0;
  const dumpLog = (pod: Pod) => `ls ${CONTAINERS}/${idOf(pod)}/ctrd-checkpoint/dump.log`;
  const archiveBegun = (pod: Pod) => `ls ${ARCHIVES} | grep -q ${pod.metadata.name}`;

  it.each<[who: string, bytes: number, kill: (node: string, pod: Pod) => Promise<void>]>([
    ["an agent, while CRIU dumps", LARGE_BYTES, killAgentOnce(dumpLog)],
    ["an agent, while the archive is written", LARGE_BYTES, killAgentOnce(archiveBegun)],
    [
      "the runtime, while it writes the archive",
      LARGER_BYTES,
      (node, pod) => kcr.killProgramOnce(node, "containerd", archiveBegun(pod)),
    ],
    [
      "the kubelet, while CRIU dumps",
      LARGE_BYTES,
      (node, pod) => kcr.killProgramOnce(node, "kubelet", dumpLog(pod)),
    ],
  ])("%s: the request ends, with one Checkpoint and no archive left over", async (_, bytes, kill) => {
    const name = `dump-${++dumps}`;
    const { pod } = await deployLarge(name, bytes);
    const node = nodeOf(pod);
    const killed = kill(node, pod);
    await world.ask(name, { podReference: { name: pod.metadata.name } });
    await killed;
    expect((await request(name)).status?.phase, "it was over before the kill").toBe("InProgress");

    const ended = await world.ended(name);
    expect(ended.status).toMatchObject({ phase: "Completed" });
    const taken = await checkpointsOf(pod);
    expect(taken.map(({ metadata }) => metadata.name)).toEqual([ended.status?.checkpoint?.name]);
    await world.good(taken[0]!.metadata.name);
    await waitFor("no archive to be left", async () => (await kcr.ownArchives(node)).length === 0);
  });

  it("nobody, but the namespace is deleted during a dump: no archive is left over", async () => {
    const gone = await World.enter(cluster!, "gone");
    const pod = await gone.deploy({ containers: [redis(gone)] });
    await redisCommand(pod.status?.podIP ?? "", `SETRANGE large ${LARGE_BYTES - 1} x`, 20_000);
    const installed = new Installation(gone);
    const begun = kcr.onceOn(nodeOf(pod), dumpLog(pod), "true");
    const archived = kcr.onceOn(nodeOf(pod), archiveBegun(pod), "true");
    await gone.ask("gone", { podReference: { name: pod.metadata.name } });
    await begun;
    await gone.leave();
    await archived;
    await waitFor(
      "no archive to be left",
      async () => (await installed.ownArchives(nodeOf(pod))).length === 0,
    );
  });

  it("an agent, politely (SIGTERM) during a dump: it ends with exit code 0 when that is done", async () => {
    const { pod } = await deployLarge("polite");
    const agent = await kcr.agent(nodeOf(pod));
    await world.ask("polite", { podReference: { name: pod.metadata.name } });
    await inProgress("polite");
    await kcr.signal(agent, "SIGTERM");
    expect((await request("polite")).status?.phase, "it was over before the signal").toBe("InProgress");
    expect((await kcr.ended(agent)).exitCode).toBe(0);
    expect((await request("polite")).status?.phase).toBe("Completed");
    expect(await checkpointsOf(pod)).toHaveLength(1);
  });

  it("an agent, in the middle of a push: the archive stays until its image is whole in the registry", async () => {
    const { pod } = await deployLarge("push");
    const node = nodeOf(pod);
    const upload = `/var/lib/registry -path '*/${world.namespace}/checkpoint-push-app/_uploads/*/data' -size +0`;
    const get = (name: string) => world.client.get(checkpoints, { namespace: world.namespace, name });
    const killWhilePushing = async () => {
      await world.ask("push", { podReference: { name: pod.metadata.name } });
      await stopped;
      const list = ["sh", "-c", `find ${upload} -printf '%s '`];
      const uploaded = await world.cluster.nodeExec("control-plane", list);
      expect(uploaded.trim(), "one upload is under way").toMatch(/^\d+$/);
      expect(Number(uploaded)).toBeLessThan(LARGE_BYTES);
      await kcr.signal(await kcr.agent(node), "SIGKILL");
      const name = (await world.ended("push")).status?.checkpoint?.name ?? "";
      const { checkpointData } = (await get(name)).spec;
      return { name, checkpointData, kept: await kcr.keepArchive(node, checkpointData) };
    };
    const stopped = kcr.signalRegistry("STOP", `find ${upload} | grep -q .`);
    const { name, checkpointData, kept } = await killWhilePushing().finally(() => kcr.signalRegistry("CONT"));

    const good = await waitFor(
      "the Checkpoint to be good",
      async () => {
        // In this order: an archive that was gone before its Checkpoint was good has been lost.
        const isThere = (await kcr.ownArchives(node)).includes(checkpointData);
        const checkpoint = await get(name);
        if (!isThere && !isGood(checkpoint)) return { lost: checkpoint };
        return isGood(checkpoint) && { checkpoint };
      },
      { intervalMs: 50, timeoutMs: 120_000 },
    );
    expect(good).not.toHaveProperty("lost");
    const gone = await waitFor("the archive to be released", async () => {
      const checkpoint = await get(name);
      return !checkpoint.metadata.finalizers?.includes(ARCHIVE_FINALIZER) && checkpoint;
    });
    expect(await kcr.ownArchives(node)).not.toContain(checkpointData);
    const digest = await kcr.digest(node, kept);
    expect(gone.status?.digest).toBe(digest);
    expect(await kcr.layersOf(gone)).toEqual([digest]);
    expect(await checkpointsOf(pod)).toHaveLength(1);
    await world.cluster.nodeExec(node, ["rm", kept]);
  });
});
