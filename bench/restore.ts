import type { Cluster } from "../cluster/cluster.ts";
import { down, up } from "../cluster/cluster.ts";
import { installKcr } from "../cluster/install.ts";
import { progressTo } from "../cluster/progress.ts";
import { until } from "../cluster/wait.ts";
import { Redis } from "../demo/redis.ts";
import { checkpoints, isGood, requests } from "../src/api/kinds.ts";
import { SCHEDULE_ANNOTATION } from "../src/api/labels.ts";
import { runtimeID, statusOf } from "../src/api/pod.ts";
import type { CheckpointRequest } from "../src/api/request.ts";
import { Client } from "../src/kube/client.ts";
import { type Deployment, deployments, namespaces, type Pod, pods } from "../src/kube/resources.ts";
import { delay } from "../src/kube/signals.ts";
import { absent } from "../src/kube/write.ts";
import { atMost, type BenchArgs, median, type Report, seconds, thisMachine } from "./lib/report.ts";
import { lastRestore, timeRunc } from "./lib/timed-runc.ts";

const CLUSTER = "kcr-bench";
const NODE = "worker-1";
const NAMESPACE = "bench";
const KEYS = 1_000_000;
const VALUE_BYTES = 900;
const LIMIT = 1.3;
const PATIENCE_MS = 240_000;
const POLL_MS = 5;

/**
 * From SIGKILL to all keys answered again, for a Redis with a million keys (1 GiB) under the runtime handler, on a
 * node of the local cluster; against what there is at least to do: the kubelet's own restart of an empty Redis
 * (SIGKILL to its first answer, without kcr), and `runc restore` of the same checkpoint, timed around the very
 * program that the handler calls. Each round has new pods, so that the kubelet's back-off plays no part.
 */
export async function run({ runs, signal, note }: BenchArgs): Promise<Report> {
  const progress = progressTo();
  await using parts = new AsyncDisposableStack();
  parts.defer(() => down({ name: CLUSTER, progress }));
  const cluster = await up({ name: CLUSTER, containerd: ["2.4"], progress, signal });
  await installKcr(cluster, { progress, signal });
  await timeRunc(cluster, NODE, signal);
  const client = Client.fromConfig({ kubeconfig: cluster.kubeconfigPath, userAgent: "kcr-bench" });
  parts.defer(() => client.close());
  await client.create(
    namespaces,
    { apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } },
    { signal },
  );
  const stage: Stage = { cluster, client, signal };

  const times = {
    restored: [] as number[],
    empty: [] as number[],
    runc: [] as number[],
    bytes: [] as number[],
  };
  for (let round = 0; round < runs; round++) {
    note(`round ${round + 1} of ${runs}: an empty Redis, without kcr`);
    times.empty.push(await emptyRestart(stage, round));
    note(`round ${round + 1} of ${runs}: a Redis with ${KEYS} keys, with kcr`);
    const { killToServing, runc, bytes } = await restore(stage, round);
    times.restored.push(killToServing);
    times.runc.push(runc);
    times.bytes.push(bytes);
  }
  const [restored, empty, runc] = [median(times.restored), median(times.empty), median(times.runc)];
  const least = median(times.empty.map((ms, round) => ms + times.runc[round]!));
  return {
    bench: "restore",
    machine: thisMachine(),
    runs,
    figures: {
      "SIGKILL to all keys answered, with kcr": seconds(restored),
      "SIGKILL to the first answer, an empty container without kcr": seconds(empty),
      "runc restore": seconds(runc),
      archive: { value: Math.round(median(times.bytes) / 1e6), unit: "MB" },
    },
    ratios: [atMost("with kcr / (restart of an empty container + runc restore)", restored / least, LIMIT)],
  };
}

interface Stage {
  cluster: Cluster;
  client: Client;
  signal: AbortSignal;
}

async function emptyRestart(stage: Stage, round: number): Promise<number> {
  const pod = await deploy(stage, `empty-${round}`, false);
  const killed = await kill(stage, pod);
  const answered = await answering(stage, pod, (keys) => keys === 0);
  await remove(stage, `empty-${round}`);
  return answered - killed;
}

async function restore(
  stage: Stage,
  round: number,
): Promise<{ killToServing: number; runc: number; bytes: number }> {
  const name = `full-${round}`;
  const pod = await deploy(stage, name, true);
  if (pod.spec?.runtimeClassName !== "kcr") throw new Error("the pod did not get class kcr");
  {
    using redis = await Redis.connect(pod.status?.podIP ?? "", { timeoutMs: 120_000 });
    await redis.command("DEBUG", "POPULATE", String(KEYS), "key", String(VALUE_BYTES));
  }
  const bytes = await checkpoint(stage, pod);
  const killed = await kill(stage, pod);
  const answered = await answering(stage, pod, (keys) => keys === KEYS);
  const runc = await lastRestore(stage.cluster, NODE, stage.signal);
  await remove(stage, name);
  return { killToServing: answered - killed, runc, bytes };
}

async function deploy({ client, cluster, signal }: Stage, name: string, isProtected: boolean): Promise<Pod> {
  const deployment = {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: {
      name,
      namespace: NAMESPACE,
      annotations: isProtected ? { [SCHEDULE_ANNOTATION]: "0 0 1 1 *" } : {},
    },
    spec: {
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: {
          terminationGracePeriodSeconds: 1,
          containers: [
            {
              name: "redis",
              image: cluster.images.redis,
              command: [
                "redis-server",
                "--save",
                "",
                "--protected-mode",
                "no",
                "--enable-debug-command",
                "yes",
              ],
            },
          ],
        },
      },
    },
  };
  await client.create(deployments, deployment as unknown as Deployment, { signal });
  let found: Pod | undefined;
  const probe = async (): Promise<boolean> => {
    const selector = { namespace: NAMESPACE, labelSelector: `app=${name}`, signal };
    found = (await client.list(pods, selector)).items.find(({ status }) => status?.podIP);
    return found !== undefined && (await ask(found)) !== undefined;
  };
  await until(`Redis ${name} answers`, probe, { timeoutMs: PATIENCE_MS, signal });
  return found!;
}

async function remove({ client, signal }: Stage, name: string): Promise<void> {
  await client.delete(
    deployments,
    { namespace: NAMESPACE, name },
    { propagationPolicy: "Background", signal },
  );
  const probe = async (): Promise<boolean> =>
    (await client.list(pods, { namespace: NAMESPACE, labelSelector: `app=${name}`, signal })).items.length ===
    0;
  await until(`pods of ${name} are gone`, probe, { timeoutMs: PATIENCE_MS, signal });
}

/** Takes a checkpoint on demand; returns its size once there is a copy of it on the node. */
async function checkpoint({ client, signal }: Stage, { metadata }: Pod): Promise<number> {
  const request = {
    apiVersion: "checkpoint-restore.kcr.io/v1",
    kind: "CheckpointRequest",
    metadata: { name: metadata.name, namespace: NAMESPACE },
    spec: { podReference: { name: metadata.name } },
  };
  await client.create(requests, request as CheckpointRequest, { signal });
  let bytes = 0;
  const probe = async (): Promise<boolean> => {
    const { status } = await client.get(requests, { namespace: NAMESPACE, name: metadata.name }, { signal });
    if (status?.phase === "Failed") throw new Error(`the checkpoint failed: ${status.message}`);
    const name = status?.checkpoint?.name;
    if (name === undefined) return false;
    const made = await client.get(checkpoints, { namespace: NAMESPACE, name }, { signal }).catch(absent);
    bytes = made?.status?.sizeBytes ?? 0;
    // Both copies: nothing of the checkpoint is still under way when the container is killed.
    return made !== undefined && isGood(made) && made.status?.copies?.length === 2;
  };
  await until("the checkpoint is good", probe, { timeoutMs: PATIENCE_MS, signal });
  return bytes;
}

/** Ends the first process of the container; returns when, on the clock of `performance`. */
async function kill({ client, cluster, signal }: Stage, { metadata }: Pod): Promise<number> {
  const pod = await client.get(pods, { namespace: NAMESPACE, name: metadata.name }, { signal });
  const id = runtimeID(statusOf(pod, "redis")?.containerID) ?? "";
  const ended = ["ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", id];
  await cluster.nodeExec(NODE, ["sync"], { signal });
  const command = cluster.nodeExec(NODE, ended, { signal });
  let alive = performance.now();
  // The command takes its time: the last answer is when it was killed.
  while ((await ask(pod)) !== undefined) {
    alive = performance.now();
    await delay(POLL_MS, signal);
  }
  await command;
  return alive;
}

async function answering({ signal }: Stage, pod: Pod, isAll: (keys: number) => boolean): Promise<number> {
  const limit = performance.now() + PATIENCE_MS;
  for (;;) {
    const keys = await ask(pod);
    if (keys !== undefined && isAll(keys)) return performance.now();
    if (performance.now() > limit) throw new Error(`Redis has ${keys} keys`);
    await delay(POLL_MS, signal);
  }
}

async function ask(pod: Pod): Promise<number | undefined> {
  try {
    using redis = await Redis.connect(pod.status?.podIP ?? "", { timeoutMs: 100 });
    return await redis.size();
  } catch {
    return undefined;
  }
}
