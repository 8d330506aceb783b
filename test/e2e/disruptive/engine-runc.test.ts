import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { ensureBinaries } from "../../../cluster/binaries.ts";
import { run } from "../../../cluster/run.ts";
import { checkpoints } from "../../../src/api/kinds.ts";
import { runtimeID } from "../../../src/api/pod.ts";
import { DUMP_STEPS, type DumpStep } from "../../../src/engine/steps.ts";
import type { Pod } from "../../../src/kube/resources.ts";
import { parseCopyIndex } from "../../../src/store/copy.ts";
import { askFor, counted, counts, HOLDER_OPTIONS, holder, isLocked, talker } from "../../support/holder.ts";
import { installKcr } from "../../support/install.ts";
import { ARCHIVES, Installation } from "../../support/installation.ts";
import { patiently } from "../../support/patiently.ts";
import { advance, carrier, mark } from "../../support/programs.ts";
import { capture, crash, deployProtected, handlersReady, KCR } from "../../support/runtime.ts";
import { Holder } from "../../support/steps.ts";
import { fill, redisStore, valueFor } from "../../support/stores.ts";
import { crashAndCompare, deployTorn } from "../../support/torn.ts";
import { waitFor } from "../../support/wait-for.ts";
import { count, counter, RARELY, redis, redisCommand, World } from "../../support/world.ts";

const cluster = inject("cluster");

describe.skipIf(cluster === undefined)("engine runc", () => {
  let world: World;
  let kcr: Installation;
  let node: string;
  beforeAll(async () => {
    world = await World.enter(cluster!, "engine");
    kcr = new Installation(world);
    node = world.worker("2.4");
    // One dump at each step at the same time.
    const limits = { perNode: DUMP_STEPS.length };
    await installKcr(world.cluster, { limits, local: { sharePages: true } }, { engine: "runc" });
    await handlersReady(world);
  });
  afterAll(async () => {
    await installKcr(world.cluster);
    await handlersReady(world);
    await world.leave();
  });

  const onNode = (script: string, name = node) => world.cluster.nodeExec(name, ["sh", "-c", script]);
  /** What is left of direct dumps on a node. */
  const leftovers = (name = node) => onNode(`ls ${KCR.dumps} 2>/dev/null || true`, name);
  const checkpointsOf = async (pod: Pod) => {
    const labelSelector = `pod=${pod.metadata.name}`;
    return (await world.client.list(checkpoints, { namespace: world.namespace, labelSelector })).items;
  };
  const idOf = (pod: Pod) => runtimeID(pod.status?.containerStatuses?.[0]?.containerID) ?? "";
  const deploy = (name: string, container: object, podSpec: object = {}) =>
    deployProtected(world, { name, schedule: RARELY, node, containers: [container], podSpec });

  it("dumps a container with its files, for its node's handler; the pause is reported", async () => {
    const each = ["echo $mark >>/tmp/marks"];
    const pod = await deploy(
      "files",
      { ...carrier(world, { each }), volumeMounts: [{ name: "data", mountPath: "/data" }] },
      { volumes: [{ name: "data", emptyDir: {} }] },
    );
    await advance(world, pod);
    await world.exec(pod, [
      "sh",
      "-euc",
      "echo volume >/data/file; rm /bin/vi; mkdir /opt; echo linked >/opt/a; ln /opt/a /opt/b",
    ]);
    const { status } = await capture(world, pod);
    const { engine, frozenMicroseconds = 0, pausedMicroseconds = 0, copiedBytes = 0 } = status ?? {};
    expect(engine).toBe("runc");
    expect(frozenMicroseconds).toBeGreaterThan(0);
    expect(pausedMicroseconds).toBeGreaterThan(frozenMicroseconds);
    expect(copiedBytes).toBeGreaterThan(0);
    await world.exec(pod, ["sh", "-euc", "echo later >/data/file; echo later >/bin/vi; rm -r /opt"]);

    await crash(world, pod);

    expect(await mark(world, pod)).toBe(1);
    const script = "cat /data/file /opt/b; stat -c %h /opt/a; [ -e /bin/vi ] || echo gone";
    expect(await world.exec(pod, ["sh", "-c", script])).toBe("volume\nlinked\n2\ngone\n");
    await waitFor("nothing to be left of it", async () => (await leftovers()) === "");
  });

  it("dumps a Redis, which containerd 2.3 restores from an image made of it", async () => {
    const pod = await world.deploy({ name: "redis", schedule: RARELY, containers: [redis(world)] });
    const ip = pod.status?.podIP ?? "";
    expect(await redisCommand(ip, "SET name kept")).toBe("+OK");
    const { status } = await world.checkpoint(pod);
    expect(status).toMatchObject({ engine: "runc", phase: "ImageBuilt" });
    await redisCommand(ip, "SET name lost");
    await world.crash(pod);
    expect(await redisCommand(ip, "GET name")).toContain("kept");
    expect(await world.image(pod)).toBe(status?.runtimeImage);
  });

  it("waits until somebody's kubectl exec is out of the container", async () => {
    const pod = await deploy("exec", counter(world));
    const inside = world.exec(pod, ["sh", "-c", "touch /tmp/in; sleep 4; echo out"]);
    await waitFor("the exec", () => onNode(`ls /proc/*/root/tmp/in | grep -q . && echo yes`));
    const asked = Date.now();
    const checkpoint = await world.checkpoint(pod);
    expect(Date.now() - asked).toBeGreaterThan(2000);
    expect(await inside).toBe("out\n");
    expect(checkpoint.status?.engine).toBe("runc");
  });

  it("gives up, and says why, while an exec stays", async () => {
    const pod = await deploy("stays", counter(world));
    const inside = world.exec(pod, ["sh", "-c", "touch /tmp/stays; sleep 30"]).catch(() => {});
    await waitFor("the exec", () => onNode(`ls /proc/*/root/tmp/stays | grep -q . && echo yes`));
    const { status } = await world.request("stays", {
      podReference: { name: pod.metadata.name },
      timeoutSeconds: 12,
    });
    expect(status).toMatchObject({ phase: "Failed", reason: "ForeignProcess" });
    const before = await count(world, pod);
    await waitFor("the container to run", async () => (await count(world, pod)) > before);
    await world.kill(pod);
    await inside;
  });

  it("says what CRIU failed at, by its own log, and saves it with the options that the pod then asks for", async () => {
    const container = await holder(world);
    const pod = await deploy("options", container);
    await counts(world, pod);
    const { status } = await world.request("options", { podReference: { name: pod.metadata.name } });
    expect(status).toMatchObject({ phase: "Failed", reason: "DeletedFileTooLarge" });
    expect(status?.message).toContain("Can't dump ghost file");
    expect(await leftovers()).toBe("");

    await askFor(world, pod, HOLDER_OPTIONS);
    const before = await counted(world, pod);
    const criuOptions = "file-locks ghost-limit=8388608";
    expect((await capture(world, pod)).status).toMatchObject({ criuOptions, engine: "runc" });
    await crash(world, pod);
    expect(await counts(world, pod)).toBeGreaterThan(before);
    expect(await isLocked(world, pod)).toBe(true);

    // Of a pod that is not of the class it is the program of the dump that asks CRIU for it.
    const plain = await world.deploy({ name: "plain", node, containers: [container] });
    await counts(world, plain);
    await askFor(world, plain, HOLDER_OPTIONS);
    expect((await world.checkpoint(plain)).status).toMatchObject({ criuOptions, engine: "runc" });
    const { note } = await world.event("CriuOptionsIgnored", plain.metadata.name);
    expect(note).toContain("is dumped with file-locks, and a restore through an image is made without");
  });

  it("brings a container's connections to itself back, or closes them, as the pod asks for", async () => {
    const conf = "/etc/criu/runc.conf";
    // Connections that are to be brought back must not change while they are saved.
    const change = `/tcp-close/d; s/^network-lock .*/network-lock nftables/`;
    await onNode(`cp ${conf} ${conf}.kept; sed -i '${change}' ${conf}`);
    try {
      const pod = await deploy("talker", await talker(world));
      await counts(world, pod);
      const { status } = await world.request("talker", { podReference: { name: pod.metadata.name } });
      expect(status).toMatchObject({ phase: "Failed", reason: "TcpConnectionOpen" });
      for (const [option, connections] of [
        ["tcp-established", 1],
        ["tcp-close", 2],
      ] as const) {
        await askFor(world, pod, option);
        const before = await counts(world, pod);
        await capture(world, pod);
        await crash(world, pod);
        expect(await counts(world, pod)).toBeGreaterThan(before);
        expect(await counted(world, pod, "/tmp/connections"), option).toBe(connections);
      }
    } finally {
      await onNode(`mv ${conf}.kept ${conf}`);
    }
  });

  /** A program whose dump takes a while: much in memory, and much in a file of its own. */
  async function deployLarge(name: string): Promise<Pod> {
    const pod = await deploy(name, redis(world));
    const ip = pod.status?.podIP ?? "";
    await redisCommand(ip, "SETRANGE large 200000000 x", 20_000);
    await redisCommand(ip, `SET name ${name}`);
    await world.exec(pod, ["sh", "-c", "head -c 300000000 /dev/zero >/data/large"]);
    return pod;
  }
  /** Runs again: its processes are not frozen, and it answers. */
  const runs = (pod: Pod) =>
    waitFor(
      "the container to run",
      async () => (await redisCommand(pod.status?.podIP ?? "", "PING", 500)) === "+PONG",
      { timeoutMs: 10_000, intervalMs: 50 },
    );
  const atStep = (pod: Pod, step: string) => `grep -q ${step} ${KCR.dumps}/${idOf(pod)}/step`;

  it("whose agent is killed, whatever step they are at: the containers run on, each request ends with one Checkpoint", async () => {
    const pods = DUMP_STEPS.map(async (step) => {
      const pod = await world.deploy({ name: `agent-${step}`, node, containers: [counter(world)] });
      await count(world, pod);
      return { step, pod };
    });
    const running = await Promise.all(pods);
    await using holding = await Holder.on(world, node);
    const held = await Promise.all(running.map(({ step, pod }) => holding.hold(pod, step)));
    const frozen = new Set<DumpStep>();
    for (const one of held) if (await one.isFrozen()) frozen.add(one.step);
    expect([...frozen]).toEqual(["pausing", "dumping"]);
    expect(await checkpointsOf(held[0]!.pod)).toEqual([]);
    // These go on at once; the others, whose containers run, when there is an agent again: it waits for them.
    const atOnce = (step: DumpStep) => step === "waiting" || frozen.has(step);

    const agent = await kcr.agent(node);
    await kcr.signal(agent, "SIGKILL");
    const killed = Date.now();
    const ran = held.map(async (one) => {
      const before = await one.count();
      if (atOnce(one.step)) await one.letGo();
      await waitFor(`the container at ${one.step} to count`, async () => (await one.count()) > before + 1, {
        intervalMs: 50,
      });
      expect(await one.isFrozen(), one.step).toBe(false);
      return Date.now() - killed;
    });
    expect(Math.max(...(await Promise.all(ran)))).toBeLessThan(10_000);

    await kcr.ended(agent);
    await kcr.whole();
    for (const one of held) if (!atOnce(one.step)) await one.letGo();
    const after = held.map(async ({ step, pod }) => {
      expect((await world.ended(step)).status, step).toMatchObject({ phase: "Completed" });
      const taken = await checkpointsOf(pod);
      expect(taken, step).toHaveLength(1);
      await world.good(taken[0]!.metadata.name);
      // And the next one works.
      expect((await world.checkpoint(pod)).status?.engine).toBe("runc");
    });
    await Promise.all(after);
    await waitFor("nothing to be left of it", async () => (await leftovers()) === "");
    await waitFor("no archive to be left", async () => (await kcr.ownArchives(node)).length === 0);
    expect(await onNode(`ls -a ${ARCHIVES}`)).not.toContain(".part");
  });

  it("whose program is killed altogether, agent and all: the container runs on, and the next dump works", async () => {
    const pod = await deployLarge("all");
    const all = `for p in /proc/[0-9]*; do [ "$(cat $p/comm 2>/dev/null)" = kcr-dump ] && kill -KILL \${p#/proc/}; done`;
    const agent = await kcr.agent(node);
    const killed = kcr.onceOn(node, atStep(pod, "dumping"), `${all}; true`);
    await world.ask("all", { podReference: { name: pod.metadata.name } });
    await killed;
    await kcr.signal(agent, "SIGKILL");
    await runs(pod);
    expect((await world.ended("all")).status?.phase).toBe("Completed");
    expect(await checkpointsOf(pod)).toHaveLength(1);
    await waitFor("nothing to be left of it", async () => (await leftovers()) === "");
  });

  it("a program comes back from a copy that shares its pages with the one before", async () => {
    const pod = await deploy("shares", await redisStore.container(world));
    const ip = pod.status?.podIP ?? "";
    await fill(redisStore, ip, "first", 40);
    await capture(world, pod);
    await fill(redisStore, ip, "second", 20);
    const { status } = await capture(world, pod);
    await fill(redisStore, ip, "lost", 10);

    const copy = KCR.copy(status?.digest?.slice("sha256:".length) ?? "");
    const { files = [], shared } = parseCopyIndex(await onNode(`cat ${copy}/copy.json`)) ?? {};
    expect(shared?.length).toBeGreaterThan(0);
    const bytes = (directory: string): number =>
      files
        .filter(({ path }) => path.startsWith(`${directory}/pages-`))
        .reduce((sum, { size }) => sum + size, 0);
    expect(bytes("checkpoint")).toBeLessThan(bytes("checkpoint/parent") / 2);

    await crash(world, pod);
    await waitFor("its answer as of the second checkpoint", async () => (await redisStore.count(ip)) === 60);
    for (const key of ["first-0", "first-39", "second-0", "second-19"]) {
      expect(await redisStore.get(ip, key), key).toBe(valueFor(key));
    }
    expect(await redisStore.get(ip, "lost-0")).toBeUndefined();
  });

  it("finds memory and files of one instant, ten times", async () => {
    const pod = await deployTorn(world, "torn");
    for (let i = 0; i < 10; i += 1) {
      const { before, after } = await crashAndCompare(world, pod);
      expect(after).toBeGreaterThan(before);
    }
  });

  it("says of a container what the node's runtime says of it, by our own account and by checkpointctl's", async () => {
    const still = "echo written >/tmp/file; exec tail -f /dev/null";
    const pod = await deploy("same", { image: world.cluster.images.busybox, command: ["sh", "-c", still] });
    const own = `/var/lib/kubelet/kept-${pod.metadata.name}.tar`;
    const made = `${ARCHIVES}/checkpoint-${pod.metadata.name}_*.tar`;
    // Before it is in the registry, and goes.
    const kept = kcr.onceOn(node, `ls ${made}`, `ln ${made} ${own}`);
    await capture(world, pod);
    await kept;
    const path = `/api/v1/nodes/${node}/proxy/checkpoint/${world.namespace}/${pod.metadata.name}/app`;
    const answer = await patiently(() =>
      world.cluster.kubectl(["create", "--raw", path, "-f", "-"], { input: "{}" }),
    );
    const [theirs = ""] = (JSON.parse(answer) as { items: string[] }).items;
    try {
      for (const file of ["config.dump", "spec.dump", "status.dump"]) {
        const [ours, other] = await Promise.all(
          [own, theirs].map(async (archive) => {
            const text = await onNode(`tar -xOf ${archive} ${file}`);
            return { ...JSON.parse(text), createdTime: "", checkpointedTime: "" };
          }),
        );
        expect(ours, file).toEqual(other);
      }
      const { "checkpointctl/checkpointctl": reader } = await ensureBinaries(["checkpointctl/checkpointctl"]);
      const [ours, other] = await Promise.all([own, theirs].map((archive) => inspected(reader!, archive)));
      expect(ours).toEqual(other);
      expect(JSON.stringify(ours)).toContain("/dev/null");
    } finally {
      await onNode(`rm ${own} ${theirs}`);
    }
  });

  /** What checkpointctl finds in an archive of the node's, but for what differs from dump to dump. */
  async function inspected(reader: string, archive: string): Promise<object> {
    const file = archive.replace("/var/lib/kubelet", world.cluster.dataDir(node, "kubelet"));
    const [found] = JSON.parse(await run([reader, "inspect", "--all", "--format", "json", file]));
    return { ...found, checkpointed: "", checkpoint_size: {}, statistics: {} };
  }
});
