import { copyFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Cluster } from "../../cluster/cluster.ts";
import { until } from "../../cluster/wait.ts";
import { Redis } from "../../demo/redis.ts";
import { Client } from "../../src/kube/client.ts";
import { type Pod, pods } from "../../src/kube/resources.ts";

const NODE = "worker-1";
const POD = { name: "redis-archives", namespace: "default" };
const KEYS = 1_000_000;
const VALUE_BYTES = 900;
/** Between the first dump and the second. */
const CHANGED_KEYS = 10_000;
const PATIENCE_MS = 240_000;

/** Two checkpoints of one container, by their paths. */
export interface Archives {
  first: string;
  second: string;
}

/**
 * Has the kubelet dump a Redis with a million keys (1 GiB), and again after one key in a hundred has changed; the
 * archives are put where `paths` says, the pod is gone then.
 */
export async function redisArchives(
  cluster: Cluster,
  { first, second }: Archives,
  signal: AbortSignal,
): Promise<void> {
  const client = Client.fromConfig({ kubeconfig: cluster.kubeconfigPath, userAgent: "kcr-bench" });
  try {
    const ip = await deploy(cluster, client, signal);
    using redis = await Redis.connect(ip, { timeoutMs: 120_000 });
    await redis.command("DEBUG", "POPULATE", String(KEYS), "key", String(VALUE_BYTES));
    await dump(cluster, first, signal);
    // Makes what is not there yet.
    for (let key = 0; key < CHANGED_KEYS; key += 100) {
      const pairs = Array.from({ length: 100 }, (_, i) => [`key:${(key + i) * 100}`, `changed ${key + i}`]);
      await redis.command("MSET", ...pairs.flat());
    }
    await dump(cluster, second, signal);
  } finally {
    await client.delete(pods, POD, { gracePeriodSeconds: 1 }).catch(() => {});
    client.close();
  }
}

async function deploy(cluster: Cluster, client: Client, signal: AbortSignal): Promise<string> {
  const command = ["redis-server", "--save", "", "--protected-mode", "no", "--enable-debug-command", "yes"];
  const containers = [{ name: "redis", image: cluster.images.redis, command }];
  const spec = { terminationGracePeriodSeconds: 1, containers };
  await client.create(pods, { apiVersion: "v1", kind: "Pod", metadata: POD, spec } as Pod, { signal });
  let ip = "";
  const answers = async (): Promise<boolean> => {
    ip = (await client.get(pods, POD, { signal })).status?.podIP ?? "";
    if (ip === "") return false;
    try {
      using redis = await Redis.connect(ip, { timeoutMs: 1_000 });
      return (await redis.command("PING")) === "PONG";
    } catch {
      return false;
    }
  };
  await until("Redis answers", answers, { timeoutMs: PATIENCE_MS, signal });
  return ip;
}

async function dump(cluster: Cluster, target: string, signal: AbortSignal): Promise<void> {
  const path = `/api/v1/nodes/${NODE}/proxy/checkpoint/${POD.namespace}/${POD.name}/redis`;
  const said = await cluster.kubectl(["create", "--raw", path, "-f", "-"], { input: "{}", signal });
  const { items } = JSON.parse(said) as { items: [string] };
  await copyFile(join(cluster.dataDir(NODE, "kubelet"), "checkpoints", basename(items[0])), target);
  await cluster.nodeExec(NODE, ["rm", ...items], { signal });
}
