import type { Cluster } from "../cluster/cluster.ts";
import { until } from "../cluster/wait.ts";
import type { Checkpoint } from "../src/api/checkpoint.ts";
import { checkpoints, schedules } from "../src/api/kinds.ts";
import { RESTORED, runtimeID, STRATEGY, statusOf } from "../src/api/pod.ts";
import { readRecords } from "../src/api/records.ts";
import type { CheckpointSchedule } from "../src/api/schedule.ts";
import { Client } from "../src/kube/client.ts";
import { isAlreadyExists } from "../src/kube/errors.ts";
import {
  type Deployment,
  deployments,
  namespaces,
  type Pod,
  pods,
  type RuntimeClass,
  runtimeClasses,
} from "../src/kube/resources.ts";
import { absent } from "../src/kube/write.ts";
import { Redis } from "./redis.ts";
import type { Strategy } from "./strategy.ts";
import { CONTAINER, NAME, NAMESPACE, redisDeployment } from "./workload.ts";

/** The worker that a strategy is played on. Errors: there is none. */
export function workerFor({ name, containerd }: Strategy, cluster: Cluster): string {
  const node = cluster.nodes.find((worker) => worker.containerd === containerd);
  if (node !== undefined) return node.name;
  const wanted = [...cluster.nodes.map((worker) => worker.containerd), containerd].join(",");
  throw new Error(
    `strategy ${name} is played on a worker with containerd ${containerd}, and cluster ${cluster.name} has none. To add one: npm run cluster -- up --name ${cluster.name} --containerd ${wanted}`,
  );
}

/** The place where the walkthrough plays, and what it does there. Every wait names what it is for. */
export class Stage implements Disposable {
  readonly cluster: Cluster;
  readonly client: Client;
  readonly node: string;
  readonly #strategy: Strategy;
  readonly #signal: AbortSignal;

  constructor(cluster: Cluster, strategy: Strategy, signal: AbortSignal) {
    this.cluster = cluster;
    this.node = workerFor(strategy, cluster);
    this.#strategy = strategy;
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
    const { ownClass } = this.#strategy;
    if (ownClass !== undefined) await this.#makeClass(ownClass);
    const manifest = redisDeployment(this.cluster.images.redis, this.node, ownClass);
    await this.client.create(deployments, manifest as Deployment, { signal: this.#signal });
    return manifest;
  }

  /** A RuntimeClass of the node's runtime handler of that name. */
  async #makeClass(name: string): Promise<void> {
    const made = { metadata: { name }, handler: name } as RuntimeClass;
    await this.client.create(runtimeClasses, made, { signal: this.#signal }).catch((error: unknown) => {
      if (!isAlreadyExists(error)) throw error;
    });
  }

  /** The pod of the Deployment, once its Redis answers. Errors: it is not of the class that the strategy needs. */
  async runningPod(): Promise<Pod> {
    const pod = await this.#seen(`a pod of Deployment ${NAME} to answer`, async () => {
      const selector = { namespace: NAMESPACE, labelSelector: `app=${NAME}`, signal: this.#signal };
      const pod = (await this.client.list(pods, selector)).items.find(({ status }) => status?.podIP);
      if (pod === undefined) return undefined;
      using redis = await this.redis(pod);
      await redis.size();
      return pod;
    });
    if (pod.spec?.runtimeClassName === this.#strategy.podClass) return pod;
    const why = conditionOf(await this.#pod(pod), STRATEGY)?.message;
    throw new Error(
      `pod ${pod.metadata.name} is not of RuntimeClass ${this.#strategy.podClass}${why === undefined ? "" : `: ${why}`}`,
    );
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

  /** Ends the first process of the container from its node, with SIGKILL. The runtime is not asked to. */
  async kill(pod: Pod): Promise<void> {
    const id = runtimeID(statusOf(await this.#pod(pod), CONTAINER)?.containerID);
    const tasks = await this.#onNode("ctr", "--namespace", "k8s.io", "tasks", "list");
    const task = tasks.split("\n").find((line) => id !== undefined && line.startsWith(id));
    const pid = task?.trim().split(/\s+/)[1];
    if (pid === undefined) throw new Error(`container ${CONTAINER} is not running`);
    await this.#onNode("kill", "-KILL", pid);
  }

  #onNode(...argv: string[]): Promise<string> {
    return this.cluster.nodeExec(this.node, argv, { signal: this.#signal });
  }

  /** Once kcr knows that the container runs from a checkpoint: from which, how often it restarted, its image. */
  restored(pod: Pod): Promise<{ restarts: number; checkpoint: string; sameImage: boolean }> {
    return this.#seen("kcr to know the container restored", async () => {
      const now = await this.#pod(pod);
      const checkpoint =
        this.#strategy.name === "runtime" ? await this.#reported(now) : recordedIn(now, CONTAINER);
      if (checkpoint === undefined) return undefined;
      const restarts = statusOf(now, CONTAINER)?.restartCount ?? 0;
      return { restarts, checkpoint, sameImage: imageOf(now) === imageOf(pod) };
    });
  }

  /** The Checkpoint that the node's agent has reported the pod restored from. */
  async #reported(pod: Pod): Promise<string | undefined> {
    if (conditionOf(pod, RESTORED)?.status !== "True") return undefined;
    const { items } = await this.client.list(checkpoints, { namespace: NAMESPACE, signal: this.#signal });
    return items.find(({ status }: Checkpoint) => (status?.restoredCount ?? 0) > 0)?.metadata.name;
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

/** The Checkpoint that the operator has settled the container's newest run to be restored from. */
function recordedIn(pod: Pod, container: string): string | undefined {
  const record = readRecords(pod)[container];
  const isSettled =
    record?.restore === undefined && record?.run === (statusOf(pod, container)?.restartCount ?? 0);
  return isSettled ? record.parent : undefined;
}

const conditionOf = (pod: Pod, wanted: string) => pod.status?.conditions?.find(({ type }) => type === wanted);

const imageOf = (pod: Pod): string | undefined =>
  pod.spec?.containers.find(({ name }) => name === CONTAINER)?.image;
