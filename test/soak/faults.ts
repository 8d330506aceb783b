import { runtimeID } from "../../src/api/pod.ts";
import { leases, namespaces, type Pod, pods } from "../../src/kube/resources.ts";
import { delay } from "../../src/kube/signals.ts";
import { Installation } from "../support/installation.ts";
import { TRANSFER_PORT } from "../support/transfer.ts";
import { waitFor } from "../support/wait-for.ts";
import type { World } from "../support/world.ts";
import { firstProcess, gone, nodeProcess, statOf } from "./processes.ts";

/** What faults are made in and with. */
export interface Scene {
  world: World;
  /** The node that those on nodes are made on this time. */
  node: string;
}

/** A fault that is made, lasts for a while, and is undone. */
export interface Fault {
  readonly name: string;
  /** What it breaks: of one target one at a time. */
  readonly target: "operator" | "agent" | "node" | "api" | "registry";
  /** Whether a process of kcr's ends by it, or may: one that leads must not do so without an API server. */
  readonly ends?: "operator" | "agent";
  /** How long it takes on a quiet machine, in milliseconds. */
  readonly usualMs: number;
  /**
   * Makes it and undoes it, whatever happens meanwhile. Returns what shows that it really happened.
   *
   * Errors: it could not be made, or did not happen.
   */
  make(scene: Scene): Promise<string>;
}

const kcrOf = ({ world }: Scene) => new Installation(world);
const isReady = ({ status }: Pod): boolean => status?.containerStatuses?.every(({ ready }) => ready) === true;

const leaderOf = (scene: Scene) =>
  waitFor("an operator that leads and is ready", async () => {
    const leader = await kcrOf(scene).leader();
    return isReady(leader) && leader;
  });

const agentOf = (scene: Scene) =>
  waitFor(`an agent on ${scene.node} that is ready`, async () => {
    const agent = await kcrOf(scene).agent(scene.node);
    return isReady(agent) && agent;
  });

const LONG_MS = 20_000;

export const faults: readonly Fault[] = [
  {
    name: "leading operator deleted",
    target: "operator",
    ends: "operator",
    usualMs: 5_000,
    make: (scene) => unseated(scene, deleted),
  },
  {
    name: "leading operator killed",
    target: "operator",
    ends: "operator",
    usualMs: 15_000,
    make: (scene) => unseated(scene, killed),
  },
  {
    name: "leading operator stopped for 20 s",
    target: "operator",
    ends: "operator",
    usualMs: LONG_MS,
    make: (scene) => unseated(scene, (scene, leader) => stopped(scene, leader, LONG_MS)),
  },
  {
    name: "leading operator cut off for 25 s",
    target: "operator",
    ends: "operator",
    usualMs: 25_000,
    make: (scene) => unseated(scene, (scene, leader) => cutOff(scene, leader, 25_000)),
  },
  {
    name: "agent deleted",
    target: "agent",
    ends: "agent",
    usualMs: 5_000,
    make: async (scene) => await deleted(scene, await agentOf(scene)),
  },
  {
    name: "agent killed",
    target: "agent",
    ends: "agent",
    usualMs: 3_000,
    make: async (scene) => await killed(scene, await agentOf(scene)),
  },
  {
    name: "agent stopped for 15 s",
    target: "agent",
    usualMs: 15_000,
    make: async (scene) => await stopped(scene, await agentOf(scene), 15_000),
  },
  {
    name: "agent cut off for 20 s",
    target: "agent",
    usualMs: LONG_MS,
    make: async (scene) => await cutOff(scene, await agentOf(scene), LONG_MS),
  },
  {
    name: "agent's connections reset",
    target: "agent",
    usualMs: 1_000,
    async make(scene) {
      // Those that it has opened: to the API server, the registry, its kubelet.
      const others = `sport != :8081 and sport != :${TRANSFER_PORT}`;
      const reset = await kcrOf(scene).inNetworkOf(await agentOf(scene), ["ss", "-HKtn", others]);
      const count = reset.trim().split("\n").filter(Boolean).length;
      if (count === 0) throw new Error("it had no connection");
      return `${count} connections`;
    },
  },
  {
    name: "kubelet killed",
    target: "node",
    usualMs: 5_000,
    make: async ({ world, node }) => await partKilled(world, node, "kubelet"),
  },
  {
    name: "container runtime killed",
    target: "node",
    usualMs: 5_000,
    make: async ({ world, node }) => await partKilled(world, node, "containerd"),
  },
  {
    name: "API server killed",
    target: "api",
    ends: "operator",
    usualMs: 15_000,
    make: async ({ world }) => await partKilled(world, "control-plane", "kube-apiserver"),
  },
  {
    name: "etcd killed",
    target: "api",
    ends: "operator",
    usualMs: 10_000,
    make: async ({ world }) => await partKilled(world, "control-plane", "etcd"),
  },
  {
    name: "registry down for 20 s",
    target: "registry",
    usualMs: LONG_MS,
    async make({ world: { cluster } }) {
      await cluster.stopPart("registry");
      try {
        await delay(LONG_MS);
        const answered = await registryAnswers(cluster.registry.push);
        if (answered) throw new Error("it still answers");
      } finally {
        await cluster.startPart("registry");
        await waitFor("the registry", () => registryAnswers(cluster.registry.push));
      }
      return "it did not answer";
    },
  },
  {
    name: "registry stopped for 15 s",
    target: "registry",
    usualMs: 15_000,
    async make({ world }) {
      const number = await numberOf(world, "control-plane", "registry");
      const pid = await nodeProcess(world.cluster.name, "control-plane", number);
      if (pid === undefined) throw new Error("the registry does not run");
      await holdStopped(pid, 15_000);
      return `process ${pid} was stopped`;
    },
  },
];

/** Does something to the operator that leads, and waits until another one does. */
async function unseated(scene: Scene, act: (scene: Scene, leader: Pod) => Promise<string>): Promise<string> {
  const { client } = scene.world;
  const lease = async () => {
    const { spec } = await client.get(leases, { namespace: kcrOf(scene).namespace, name: "kcr-operator" });
    return spec;
  };
  const leader = await leaderOf(scene);
  const before = (await lease())?.holderIdentity;
  const began = Date.now();
  const what = await act(scene, leader);
  const next = await waitFor(
    "another operator to lead",
    async () => {
      const now = await lease();
      return (
        now?.holderIdentity !== undefined && now.holderIdentity !== "" && now.holderIdentity !== before && now
      );
    },
    { timeoutMs: 90_000 },
  );
  const afterSeconds = (Date.parse(`${next.acquireTime}`) - began) / 1000;
  return `${what}; ${next.holderIdentity} leads after ${afterSeconds.toFixed(1)} s`;
}

/** The pod is deleted, as an eviction or an update does. */
async function deleted({ world }: Scene, { metadata }: Pod): Promise<string> {
  await world.client.delete(pods, metadata);
  await waitFor(`${metadata.name} to go`, async () => {
    const { items } = await world.client.list(pods, { namespace: metadata.namespace });
    return items.every((pod) => pod.metadata.uid !== metadata.uid || pod.metadata.deletionTimestamp);
  });
  return `pod ${metadata.name} is gone`;
}

/** Its process ends without a word. */
async function killed({ world }: Scene, pod: Pod): Promise<string> {
  const pid = await processOf(world, pod);
  process.kill(pid, "SIGKILL");
  await waitFor(`process ${pid} to end`, async () => {
    const now = await statOf(pid).catch(gone);
    return now === undefined || now.state === "Z" || now.state === "X";
  });
  return `process ${pid} of ${pod.metadata.name} ended`;
}

async function stopped({ world }: Scene, pod: Pod, ms: number): Promise<string> {
  const pid = await processOf(world, pod);
  await holdStopped(pid, ms);
  return `process ${pid} of ${pod.metadata.name} was stopped`;
}

/** SIGSTOP, and SIGCONT when the time is over. */
async function holdStopped(pid: number, ms: number): Promise<void> {
  const { started } = await statOf(pid);
  process.kill(pid, "SIGSTOP");
  try {
    await waitFor(`process ${pid} to be stopped`, async () => (await statOf(pid)).state === "T", {
      timeoutMs: 5_000,
    });
    await delay(ms);
  } finally {
    const now = await statOf(pid).catch(gone);
    if (now?.started === started) process.kill(pid, "SIGCONT");
  }
}

/** Every packet between the pod and others than its own node is dropped there. */
async function cutOff({ world }: Scene, pod: Pod, ms: number): Promise<string> {
  const { podIP } = pod.status ?? {};
  const node = pod.spec?.nodeName ?? "";
  const table = `kcr-soak-${podIP?.replaceAll(".", "-")}`;
  const nft = (...words: string[]) => world.cluster.nodeExec(node, ["nft", ...words]);
  await nft(`table ip ${table} {
    counter cut {}
    chain forward {
      type filter hook forward priority -5;
      ip saddr ${podIP} counter name cut drop
      ip daddr ${podIP} counter name cut drop
    }
  }`);
  try {
    await delay(ms);
    const packets = /packets (\d+)/.exec(await nft("list", "counter", "ip", table, "cut"))?.[1];
    if (!(Number(packets) > 0)) throw new Error(`nothing was dropped of ${pod.metadata.name}`);
    return `${packets} packets of ${pod.metadata.name}`;
  } finally {
    await nft("delete", "table", "ip", table);
  }
}

/** A program of a node ends without a word, and its node starts it again; until what it serves is there again. */
async function partKilled(world: World, node: string, program: string): Promise<string> {
  const part = node === "control-plane" ? program : `${node}/${program}`;
  const before = await numberOf(world, node, program);
  await world.cluster.killPart(part);
  const after = await waitFor(`another ${part}`, async () => {
    const now = await numberOf(world, node, program);
    return now !== before && now;
  });
  if (node === "control-plane") {
    const read = () => world.client.get(namespaces, { name: world.namespace }, { timeoutMs: 3_000 });
    await waitFor("the API server to answer", read, { timeoutMs: 120_000 });
  }
  return `process ${after} after ${before}`;
}

/** The node's own number for one of its programs. */
const numberOf = async ({ cluster }: World, node: string, program: string): Promise<number> =>
  Number(await cluster.nodeExec(node, ["cat", `/run/kcr/${program}.pid`]));

/** The host's number for the process of a pod's container. */
async function processOf({ cluster }: World, pod: Pod): Promise<number> {
  const id = runtimeID(pod.status?.containerStatuses?.[0]?.containerID) ?? "";
  const pid = await firstProcess(cluster.name, id);
  if (pid === undefined) throw new Error(`${pod.metadata.name} does not run`);
  return pid;
}

async function registryAnswers(address: string): Promise<boolean> {
  const answer = await fetch(`http://${address}/v2/`, { signal: AbortSignal.timeout(3_000) }).catch(
    () => undefined,
  );
  return answer?.ok === true;
}
