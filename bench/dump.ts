import { type Cluster, down, up } from "../cluster/cluster.ts";
import { installKcr } from "../cluster/install.ts";
import { progressTo } from "../cluster/progress.ts";
import { until } from "../cluster/wait.ts";
import { Redis } from "../demo/redis.ts";
import type { CheckpointStatus } from "../src/api/checkpoint.ts";
import { RESTORABLE } from "../src/api/checkpoint.ts";
import { checkpoints, requests } from "../src/api/kinds.ts";
import { runtimeID, statusOf } from "../src/api/pod.ts";
import type { CheckpointRequest } from "../src/api/request.ts";
import type { Settings } from "../src/api/settings.ts";
import { Client } from "../src/kube/client.ts";
import { namespaces, type Pod, pods } from "../src/kube/resources.ts";
import { delay } from "../src/kube/signals.ts";
import { absent } from "../src/kube/write.ts";
import {
  atMost,
  type BenchArgs,
  median,
  megabytes,
  type Report,
  seconds,
  thisMachine,
} from "./lib/report.ts";
import { inTurns } from "./lib/turns.ts";

const CLUSTER = "kcr-bench";
const NODE = "worker-1";
const NAMESPACE = "bench";
const POD = "redis";
const KEYS = 1_000_000;
const VALUE_BYTES = 900;
/** Of files that the container has written to its root file system. */
const FILE_MB = 100;
const PATIENCE_MS = 240_000;
const POLL_MS = 5;
/** Where the node keeps what is dumped to be thrown away: a disk. */
const SCRATCH = "/var/lib/kcr/bench";

/**
 * Dumps of a Redis with a million keys (1 GiB) and some files, on a node of the local cluster, by both engines: from
 * the request until its image is restorable, and for how long the application does not answer; against what there is
 * at least to do: the kubelet's own call, `runc checkpoint` of the same container, CRIU's frozen time and the copying
 * of the files. No contender's archive is any other's.
 */
export async function run({ runs, signal, note }: BenchArgs): Promise<Report> {
  const progress = progressTo();
  await using parts = new AsyncDisposableStack();
  parts.defer(() => down({ name: CLUSTER, progress }));
  const cluster = await up({ name: CLUSTER, containerd: ["2.4"], progress, signal });
  const client = Client.fromConfig({ kubeconfig: cluster.kubeconfigPath, userAgent: "kcr-bench" });
  parts.defer(() => client.close());
  const metadata = { name: NAMESPACE };
  await client.create(namespaces, { apiVersion: "v1", kind: "Namespace", metadata }, { signal });
  const install = (engine: Settings["engine"]) =>
    installKcr(cluster, { progress, signal, handler: "none", engine, settings: { store: "registry" } });

  await install("kubelet");
  const pod = await deploy(cluster, client, signal);
  const stage: Stage = { cluster, client, signal, pod };
  const before = async (name: string, round: number) => {
    note(`round ${round + 1} of ${runs}: ${name}`);
    await settle(stage);
  };
  const made: Record<Settings["engine"], Made[]> = { kubelet: [], runc: [] };
  const by = (engine: Settings["engine"]) => async () => {
    const one = await request(stage);
    made[engine].push(one);
    return one.milliseconds;
  };
  const kubelet = await inTurns(runs, { alone: () => callKubelet(stage), kcr: by("kubelet") }, before);
  await install("runc");
  const copies: number[] = [];
  const runc = await inTurns(
    runs,
    {
      alone: () => callRunc(stage),
      kcr: by("runc"),
      copy: async () => {
        const ms = await copyFiles(stage);
        copies.push(ms);
        return ms;
      },
    },
    before,
  );

  const gap = (engine: Settings["engine"]) => median(made[engine].map(({ silentMs }) => silentMs));
  const ms = (field: "frozenMicroseconds" | "pausedMicroseconds") =>
    median(made.runc.map(({ status }) => (status[field] ?? Number.NaN) / 1000));
  const [frozen, paused, copy] = [ms("frozenMicroseconds"), ms("pausedMicroseconds"), median(copies)];
  const of = { kubelet: median(kubelet.kcr), runc: median(runc.kcr) };
  const alone = { kubelet: median(kubelet.alone), runc: median(runc.alone) };
  return {
    bench: "dump",
    machine: thisMachine(),
    runs,
    figures: {
      "the kubelet's call": seconds(alone.kubelet),
      "request to restorable image, engine kubelet": seconds(of.kubelet),
      "runc checkpoint": seconds(alone.runc),
      "request to archive, engine runc": seconds(median(made.runc.map(({ takenMs }) => takenMs))),
      "request to restorable image, engine runc": seconds(of.runc),
      "no answer, engine kubelet": seconds(gap("kubelet")),
      "no answer, engine runc": seconds(gap("runc")),
      "paused, engine runc": seconds(paused),
      "of that frozen by CRIU": seconds(frozen),
      "copying the changed files": seconds(copy),
      "changed files": megabytes(median(made.runc.map(({ status }) => status.copiedBytes ?? Number.NaN))),
      archive: megabytes(median(made.runc.map(({ status }) => status.sizeBytes ?? Number.NaN))),
    },
    ratios: [
      atMost("engine kubelet: request to restorable / the kubelet's call", of.kubelet / alone.kubelet, 1.25),
      atMost("engine runc: request to restorable / runc checkpoint", of.runc / alone.runc, 2.5),
      atMost("engine runc: paused / (frozen + copying)", paused / (frozen + copy), 1.2),
      atMost("pause, engine runc / engine kubelet", gap("runc") / gap("kubelet"), 0.5),
    ],
  };
}

interface Stage {
  cluster: Cluster;
  client: Client;
  signal: AbortSignal;
  pod: Pod;
}

/** A pod that kcr has nothing to do with but what is asked of it, full of keys and with files of its own. */
async function deploy(cluster: Cluster, client: Client, signal: AbortSignal): Promise<Pod> {
  const command = ["redis-server", "--save", "", "--protected-mode", "no", "--enable-debug-command", "yes"];
  const spec = {
    terminationGracePeriodSeconds: 1,
    containers: [{ name: "redis", image: cluster.images.redis, command }],
  };
  const metadata = { name: POD, namespace: NAMESPACE };
  await client.create(pods, { apiVersion: "v1", kind: "Pod", metadata, spec } as Pod, { signal });
  let found: Pod | undefined;
  const probe = async (): Promise<boolean> => {
    found = await client.get(pods, metadata, { signal });
    return found.status?.podIP !== undefined && (await ask(found));
  };
  await until("Redis answers", probe, { timeoutMs: PATIENCE_MS, signal });
  using redis = await Redis.connect(found?.status?.podIP ?? "", { timeoutMs: 120_000 });
  await redis.command("DEBUG", "POPULATE", String(KEYS), "key", String(VALUE_BYTES));
  const fill = `head -c ${FILE_MB}000000 /dev/urandom >/proc/$(${initOf(found!)})/root/data/file`;
  await cluster.nodeExec(NODE, ["sh", "-c", fill], { signal });
  return found!;
}

/** A shell's command that prints the number of the container's first process on its node. */
const initOf = (pod: Pod): string =>
  `ctr -n k8s.io tasks list | sed -n 's/^${idOf(pod)} *\\([0-9]*\\).*/\\1/p'`;

const idOf = (pod: Pod): string => runtimeID(statusOf(pod, "redis")?.containerID) ?? "";

/** Nothing of the round before is still to be written or on the way out, and what it wrote has been freed. */
async function settle({ cluster, client, signal }: Stage): Promise<void> {
  for (const { metadata } of (await client.list(requests, { namespace: NAMESPACE, signal })).items) {
    await client.delete(requests, metadata, { signal }).catch(absent);
  }
  for (const { metadata } of (await client.list(checkpoints, { namespace: NAMESPACE, signal })).items) {
    await client.delete(checkpoints, metadata, { signal }).catch(absent);
  }
  const gone = async () =>
    (await client.list(checkpoints, { namespace: NAMESPACE, signal })).items.length === 0;
  await until("the Checkpoints are gone", gone, { timeoutMs: PATIENCE_MS, signal });
  // Otherwise the registry alone would write to parts of the disk that were never written to, which may be slower.
  const collect = ["registry", "garbage-collect", "--delete-untagged", "--quiet", "/etc/kcr/registry.yaml"];
  await cluster.nodeExec("control-plane", collect, { signal });
  await cluster.nodeExec(NODE, ["sh", "-c", `rm -rf ${SCRATCH}; sync`], { signal });
}

async function callKubelet({ cluster, signal }: Stage): Promise<number> {
  const path = `/api/v1/nodes/${NODE}/proxy/checkpoint/${NAMESPACE}/${POD}/redis`;
  const began = performance.now();
  const said = await cluster.kubectl(["create", "--raw", path, "-f", "-"], { input: "{}", signal });
  const took = performance.now() - began;
  const { items } = JSON.parse(said) as { items: string[] };
  await cluster.nodeExec(NODE, ["rm", ...items], { signal });
  return took;
}

async function callRunc({ cluster, signal, pod }: Stage): Promise<number> {
  const runc = "runc --root /run/containerd/runc/k8s.io checkpoint --leave-running";
  const where = `--image-path ${SCRATCH}/images --work-path ${SCRATCH}/work`;
  const script = `mkdir -p ${SCRATCH}/work; b=$(date +%s%N); ${runc} ${where} ${idOf(pod)}; e=$(date +%s%N); echo $((e - b))`;
  return Number(await cluster.nodeExec(NODE, ["sh", "-ec", script], { signal })) / 1e6;
}

/** How long it takes to copy what the container has written, by the node's own means. */
async function copyFiles({ cluster, signal, pod }: Stage): Promise<number> {
  const upper = `sed -n 's|^[^ ]* [^ ]* [^ ]* / / .*upperdir=\\([^,]*\\).*|\\1|p' /proc/$(${initOf(pod)})/mountinfo`;
  const script = `mkdir -p ${SCRATCH}; u=$(${upper}); b=$(date +%s%N); cp -a "$u" ${SCRATCH}/files; e=$(date +%s%N); echo $((e - b))`;
  return Number(await cluster.nodeExec(NODE, ["sh", "-ec", script], { signal })) / 1e6;
}

interface Made {
  milliseconds: number;
  /** From the request until there was a Checkpoint of its archive. */
  takenMs: number;
  status: CheckpointStatus;
  /** The longest time for which Redis did not answer meanwhile. */
  silentMs: number;
}

/** From the request until its image is restorable. */
async function request({ client, signal, pod }: Stage): Promise<Made> {
  const watching = new AbortController();
  const silence = longestSilence(pod, AbortSignal.any([watching.signal, signal]));
  const metadata = { name: `dump-${Date.now()}`, namespace: NAMESPACE };
  const body = { apiVersion: "checkpoint-restore.kcr.io/v1", kind: "CheckpointRequest", metadata };
  const began = performance.now();
  await client.create(requests, { ...body, spec: { podReference: { name: POD } } } as CheckpointRequest, {
    signal,
  });
  let status: CheckpointStatus = {};
  let taken = 0;
  let reached = 0;
  const probe = async (): Promise<boolean> => {
    const { status: asked } = await client.get(requests, metadata, { signal });
    if (asked?.phase === "Failed") throw new Error(`the checkpoint failed: ${asked.message}`);
    const name = asked?.checkpoint?.name;
    if (name === undefined) return false;
    taken ||= performance.now();
    const made = await client.get(checkpoints, { namespace: NAMESPACE, name }, { signal }).catch(absent);
    status = made?.status ?? {};
    return status.conditions?.some(({ type, status }) => type === RESTORABLE && status === "True") ?? false;
  };
  try {
    await until("the image is restorable", probe, { timeoutMs: PATIENCE_MS, intervalMs: 20, signal });
    reached = performance.now();
  } finally {
    watching.abort();
  }
  return { milliseconds: reached - began, takenMs: taken - began, status, silentMs: await silence };
}

/** Asks over one connection as often as it can until the signal aborts. */
async function longestSilence(pod: Pod, signal: AbortSignal): Promise<number> {
  let longest = 0;
  using redis = await Redis.connect(pod.status?.podIP ?? "", { timeoutMs: PATIENCE_MS });
  while (!signal.aborted) {
    const asked = performance.now();
    await redis.size();
    longest = Math.max(longest, performance.now() - asked);
    await delay(POLL_MS, signal).catch(() => {});
  }
  return longest;
}

async function ask(pod: Pod): Promise<boolean> {
  try {
    using redis = await Redis.connect(pod.status?.podIP ?? "", { timeoutMs: 100 });
    await redis.size();
    return true;
  } catch {
    return false;
  }
}
