import type { Cluster } from "../cluster/cluster.ts";
import { until } from "../cluster/wait.ts";
import { schedules } from "../src/api/kinds.ts";
import { runtimeID, statusOf } from "../src/api/pod.ts";
import { readRecords } from "../src/api/records.ts";
import type { CheckpointSchedule } from "../src/api/schedule.ts";
import { Client } from "../src/kube/client.ts";
import { type Deployment, deployments, namespaces, type Pod, pods } from "../src/kube/resources.ts";
import { absent } from "../src/kube/write.ts";
import { Redis } from "./redis.ts";
import { CONTAINER, NAME, NAMESPACE, redisDeployment } from "./workload.ts";

/** The worker that the demo's strategy works on. Errors: there is none. */
export function imageRestoringWorker(cluster: Cluster): string {
  const node = cluster.nodes.find(({ containerd }) => containerd === "2.3");
  if (node !== undefined) return node.name;
  throw new Error(
    `strategy image needs a worker with containerd 2.3, and cluster ${cluster.name} has none: take it down first (npm run cluster -- --name ${cluster.name} down)`,
  );
}

/** The place where the walkthrough plays, and what it does there. Every wait names what it is for. */
export class Stage implements Disposable {
  readonly cluster: Cluster;
  readonly client: Client;
  readonly node: string;
  readonly #signal: AbortSignal;

  constructor(cluster: Cluster, signal: AbortSignal) {
    this.cluster = cluster;
    this.node = imageRestoringWorker(cluster);
    this.client = Client.fromConfig({ kubeconfig: cluster.kubeconfigPath, userAgent: "kcr-demo" });
    this.#signal = signal;
  }

  [Symbol.dispose](): void {
    this.client.close();
  }

  /** Takes away what an earlier run left and makes the namespace anew. */
  async makeNamespace(): Promise<void> {
    const signal = this.#signal;
    const name = { name: NAMESPACE };
    const left = await this.client.delete(namespaces, name, { signal }).then(
      () => true,
      (error: unknown) => absent(error) !== undefined,
    );
    const gone = async () =>
      (await this.client.get(namespaces, name, { signal }).catch(absent)) === undefined;
    if (left) await this.#until(`namespace ${NAMESPACE} is gone`, gone, 180_000);
    await this.client.create(namespaces, { apiVersion: "v1", kind: "Namespace", metadata: name }, { signal });
  }

  async deploy(): Promise<object> {
    const manifest = redisDeployment(this.cluster.images.redis, this.node);
    await this.client.create(deployments, manifest as Deployment, { signal: this.#signal });
    return manifest;
  }

  /** The pod of the Deployment, once its Redis answers. */
  async runningPod(): Promise<Pod> {
    return await this.#seen(`a pod of Deployment ${NAME} to answer`, async () => {
      const selector = { namespace: NAMESPACE, labelSelector: `app=${NAME}`, signal: this.#signal };
      const pod = (await this.client.list(pods, selector)).items.find(({ status }) => status?.podIP);
      if (pod === undefined) return undefined;
      using redis = await this.redis(pod);
      await redis.size();
      return pod;
    });
  }

  redis(pod: Pod): Promise<Redis> {
    return Redis.connect(pod.status?.podIP ?? "", { signal: this.#signal });
  }

  /** The Deployment's schedule, once kcr has made it and knows its next slot. */
  schedule(): Promise<CheckpointSchedule> {
    return this.#seen("kcr to make a CheckpointSchedule", async () => {
      const schedule = await this.#schedule();
      return schedule?.status?.nextRunTime === undefined ? undefined : schedule;
    });
  }

  #schedule(): Promise<CheckpointSchedule | undefined> {
    return this.client
      .get(schedules, { namespace: NAMESPACE, name: NAME }, { signal: this.#signal })
      .catch(absent);
  }

  /** No more checkpoints from here on; restores go on. Done even when the demo was interrupted. */
  async suspend(): Promise<void> {
    const patch = { type: "merge", body: { spec: { suspend: true } } } as const;
    await this.client.patch(schedules, { namespace: NAMESPACE, name: NAME }, patch).catch(absent);
  }

  /** Ends the first process of the container from its node, with SIGKILL. */
  async kill(pod: Pod): Promise<void> {
    const now = await this.#pod(pod);
    const id = runtimeID(statusOf(now, CONTAINER)?.containerID);
    if (id === undefined) throw new Error(`container ${CONTAINER} is not running`);
    const kill = ["ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", id];
    await this.cluster.nodeExec(this.node, kill, { signal: this.#signal });
  }

  /** Once the operator knows that the container runs from a checkpoint: how often it restarted, and from which. */
  restored(pod: Pod): Promise<{ restarts: number; checkpoint: string }> {
    return this.#seen("kcr to know the container restored", async () => {
      const now = await this.#pod(pod);
      const record = readRecords(now)[CONTAINER];
      const restarts = statusOf(now, CONTAINER)?.restartCount ?? 0;
      const checkpoint = record?.parent;
      if (checkpoint === undefined || record?.restore !== undefined || record?.run !== restarts) return;
      return { restarts, checkpoint };
    });
  }

  kubectl(...args: string[]): Promise<string> {
    return this.cluster.kubectl(["--namespace", NAMESPACE, ...args], { signal: this.#signal });
  }

  #pod({ metadata }: Pod): Promise<Pod> {
    const { namespace, name } = metadata;
    return this.client.get(pods, { namespace, name }, { signal: this.#signal });
  }

  async #until(what: string, probe: () => Promise<boolean>, timeoutMs = 120_000): Promise<void> {
    await until(what, probe, { timeoutMs, signal: this.#signal });
  }

  async #seen<T>(what: string, probe: () => Promise<T | undefined>): Promise<T> {
    let seen: T | undefined;
    await this.#until(what, async () => {
      seen = await probe();
      return seen !== undefined;
    });
    return seen as T;
  }
}
