import { randomBytes } from "node:crypto";
import { type Cluster, down, up } from "../cluster/cluster.ts";
import { installKcr } from "../cluster/install.ts";
import { progressTo } from "../cluster/progress.ts";
import { until } from "../cluster/wait.ts";
import { Redis } from "../demo/redis.ts";
import { API_VERSION } from "../src/api/group.ts";
import { checkpoints, isGood, requests, restores } from "../src/api/kinds.ts";
import type { CheckpointRequest } from "../src/api/request.ts";
import type { CheckpointRestore } from "../src/api/restore.ts";
import type { Settings } from "../src/api/settings.ts";
import { Client } from "../src/kube/client.ts";
import { namespaces, type Pod, pods } from "../src/kube/resources.ts";
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
import { lastRestore, timeRunc } from "./lib/timed-runc.ts";

const CLUSTER = "kcr-bench";
const [HOME, AWAY] = ["worker-1", "worker-2"];
const NAMESPACE = "bench";
const KEYS = 1_000_000;
const VALUE_BYTES = 900;
const CHECKPOINTS = 5;
/** Part of the keys that are rewritten between two checkpoints. */
const REWRITTEN = 0.01;
const BATCH = 5_000;
const PATIENCE_MS = 600_000;

/**
 * Five checkpoints of a Redis with a million keys (1 GiB) of values that cannot be compressed, 1 % of them rewritten in
 * between, on one node of the local cluster: bytes that their copies take there, and that another node fetches to
 * restore each of them, against one checkpoint; and how long `runc restore` takes from the last, which shares pages with
 * all before it, against a copy that shares none. What each restores is compared key by key, by Redis' own digest.
 */
export async function run({ runs, signal, note }: BenchArgs): Promise<Report> {
  const progress = progressTo();
  await using parts = new AsyncDisposableStack();
  parts.defer(() => down({ name: CLUSTER, progress }));
  const cluster = await up({ name: CLUSTER, containerd: ["2.4", "2.4"], progress, signal });
  const install = (sharePages: boolean) => {
    const settings = { store: "node", local: { perContainer: 12, sharePages } } satisfies Partial<
      Record<keyof Settings, object | string>
    >;
    return installKcr(cluster, { progress, signal, settings });
  };
  await install(true);
  const client = Client.fromConfig({ kubeconfig: cluster.kubeconfigPath, userAgent: "kcr-bench" });
  parts.defer(() => client.close());
  const metadata = { name: NAMESPACE };
  await client.create(namespaces, { apiVersion: "v1", kind: "Namespace", metadata }, { signal });
  const stage: Stage = { cluster, client, signal };

  const home = await deploy(stage, "home", HOME);
  const away = await deploy(stage, "away", AWAY);
  await fill(home, KEYS, () => KEYS);
  const taken: Taken[] = [];
  for (let n = 0; n < CHECKPOINTS; n++) {
    if (n > 0) await fill(home, KEYS * REWRITTEN, () => KEYS);
    note(`checkpoint ${n + 1} of ${CHECKPOINTS}`);
    taken.push(await checkpoint(stage, home, `shared-${n}`));
  }
  for (const [n, one] of taken.entries()) {
    note(`checkpoint ${n + 1} of ${CHECKPOINTS} on the other node`);
    await restore(stage, away, one);
    one.fetched = await storeBytes(stage, AWAY);
  }
  const wire = await received(stage);

  await install(false);
  note("a checkpoint that shares no pages");
  const plain = await checkpoint(stage, home, "plain");
  await restore(stage, away, plain);
  await timeRunc(cluster, AWAY, signal);
  const last = taken.at(-1)!;
  const times = { shared: [] as number[], plain: [] as number[] };
  for (let round = 0; round < runs; round++) {
    note(`restores, round ${round + 1} of ${runs}`);
    for (const [kind, one] of round % 2 === 0 ? contenders() : contenders().toReversed()) {
      await restore(stage, away, one);
      times[kind].push(await lastRestore(cluster, AWAY, signal));
    }
  }
  function contenders(): ["shared" | "plain", Taken][] {
    return [
      ["shared", last],
      ["plain", plain],
    ];
  }

  const [one, five] = [taken[0]!.kept, last.kept];
  const firstFetched = taken[0]!.fetched ?? Number.NaN;
  const archives = taken.reduce((sum, { archive }) => sum + archive, 0);
  return {
    bench: "store",
    machine: thisMachine(),
    runs,
    figures: {
      "one archive": megabytes(taken[0]!.archive),
      "five archives": megabytes(archives),
      "one copy on disk": megabytes(one),
      "five copies on disk": megabytes(five),
      "one copy fetched by another node": megabytes(firstFetched),
      "five copies fetched by another node": megabytes(wire),
      "request to good, the first": seconds(taken[0]!.milliseconds),
      "request to good, the others": seconds(median(taken.slice(1).map(({ milliseconds }) => milliseconds))),
      "runc restore, the fifth": seconds(median(times.shared)),
      "runc restore, a copy that shares nothing": seconds(median(times.plain)),
    },
    ratios: [
      atMost("on disk: five / one", five / one, 1.4),
      atMost("on the wire: five / one", wire / firstFetched, 1.4),
      atMost(
        "runc restore: the fifth / one that shares nothing",
        median(times.shared) / median(times.plain),
        1.2,
      ),
    ],
  };
}

interface Stage {
  cluster: Cluster;
  client: Client;
  signal: AbortSignal;
}

interface Taken {
  name: string;
  /** Of all keys and values then, by Redis. */
  digest: string;
  /** Bytes of the archive, and of all copies on the node when this one was there. */
  archive: number;
  kept: number;
  /** The same on the other node. */
  fetched?: number;
  milliseconds: number;
}

async function deploy({ cluster, client, signal }: Stage, name: string, node: string): Promise<Pod> {
  const command = ["redis-server", "--save", "", "--protected-mode", "no", "--enable-debug-command", "yes"];
  const spec = {
    runtimeClassName: "kcr",
    nodeSelector: { "kubernetes.io/hostname": node },
    terminationGracePeriodSeconds: 1,
    containers: [{ name: "redis", image: cluster.images.redis, command }],
  };
  const metadata = { name, namespace: NAMESPACE };
  await client.create(pods, { apiVersion: "v1", kind: "Pod", metadata, spec } as Pod, { signal });
  let found: Pod | undefined;
  const probe = async (): Promise<boolean> => {
    found = await client.get(pods, metadata, { signal });
    const ip = found.status?.podIP;
    if (ip === undefined) return false;
    using redis = await Redis.connect(ip, { timeoutMs: 1_000 });
    return (await redis.size()) === 0;
  };
  await until("Redis answers", () => probe().catch(() => false), { timeoutMs: PATIENCE_MS, signal });
  return found!;
}

/** Writes so many keys, each one of those below `limit`, with values of their own: all of them, or some by chance. */
async function fill(pod: Pod, count: number, limit: () => number): Promise<void> {
  using redis = await Redis.connect(pod.status?.podIP ?? "", { timeoutMs: 120_000 });
  for (let at = 0; at < count; at += BATCH) {
    const size = Math.min(BATCH, count - at);
    // Printable, for it goes through as text; as good as random to whoever would compress a page.
    const values = randomBytes((size * VALUE_BYTES * 3) / 4).toString("base64");
    await redis.pipeline(
      Array.from({ length: size }, (_, n) => {
        const key = count === limit() ? at + n : Math.floor(Math.random() * limit());
        return ["SET", `key:${key}`, values.slice(n * VALUE_BYTES, (n + 1) * VALUE_BYTES)];
      }),
    );
  }
}

const digestOf = async (pod: Pod): Promise<string> => {
  using redis = await Redis.connect(pod.status?.podIP ?? "", { timeoutMs: 120_000 });
  return String(await redis.command("DEBUG", "DIGEST"));
};

async function checkpoint(stage: Stage, pod: Pod, name: string): Promise<Taken> {
  const { client, signal } = stage;
  const digest = await digestOf(pod);
  const metadata = { name, namespace: NAMESPACE };
  const began = performance.now();
  const spec = { podReference: { name: pod.metadata.name } };
  await client.create(
    requests,
    { apiVersion: API_VERSION, kind: requests.kind, metadata, spec } as CheckpointRequest,
    {
      signal,
    },
  );
  let [made, archive] = ["", 0];
  const probe = async (): Promise<boolean> => {
    const { status } = await client.get(requests, metadata, { signal });
    if (status?.phase === "Failed") throw new Error(`the checkpoint failed: ${status.message}`);
    made = status?.checkpoint?.name ?? "";
    if (made === "") return false;
    const found = await client
      .get(checkpoints, { namespace: NAMESPACE, name: made }, { signal })
      .catch(absent);
    archive = found?.status?.sizeBytes ?? 0;
    return found !== undefined && isGood(found);
  };
  await until("the checkpoint is good", probe, { timeoutMs: PATIENCE_MS, intervalMs: 50, signal });
  const milliseconds = performance.now() - began;
  return { name: made, digest, archive, kept: await storeBytes(stage, HOME), milliseconds };
}

/** Takes the pod's Redis back to that checkpoint, and sees that it has the keys and values of then. */
async function restore({ client, signal }: Stage, pod: Pod, { name, digest }: Taken): Promise<void> {
  const metadata = { name: `back-${Date.now()}`, namespace: NAMESPACE };
  const spec = { checkpointName: name, podReference: { name: pod.metadata.name }, discardCurrent: true };
  const body = { apiVersion: API_VERSION, kind: restores.kind, metadata, spec };
  await client.create(restores, body as CheckpointRestore, { signal });
  const probe = async (): Promise<boolean> => {
    const { status } = await client.get(restores, metadata, { signal });
    if (status?.phase === "Failed") throw new Error(`the restore failed: ${status.message}`);
    return status?.phase === "Completed";
  };
  await until("the restore is over", probe, { timeoutMs: PATIENCE_MS, intervalMs: 100, signal });
  const found = await digestOf(pod);
  if (found !== digest)
    throw new Error(`Checkpoint ${name} brought back other keys: ${found}, not ${digest}`);
}

/** Bytes on disk of all copies of a node: what they share counts once, as the file system has it. */
async function storeBytes({ cluster, signal }: Stage, node: string): Promise<number> {
  const used = await cluster.nodeExec(node, ["du", "-s", "--block-size=1", "/var/lib/kcr/store"], { signal });
  return Number.parseInt(used, 10);
}

/** Bytes that the other node's agent has been sent by agents. */
async function received({ cluster, client, signal }: Stage): Promise<number> {
  const { items } = await client.listAll(pods, {
    labelSelector: "app.kubernetes.io/name=kcr-agent",
    fieldSelector: `spec.nodeName=${AWAY}`,
    signal,
  });
  const [agent] = items;
  const path = `/api/v1/namespaces/${agent?.metadata.namespace}/pods/${agent?.metadata.name}:8081/proxy/metrics`;
  const text = await cluster.kubectl(["get", "--raw", path], { signal });
  const [, bytes] = /^kcr_transfer_bytes_total\{direction="received"\} (\S+)$/m.exec(text) ?? [];
  return Number(bytes);
}
