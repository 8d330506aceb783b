import { connect } from "node:net";
import { attach, type Cluster } from "../../cluster/cluster.ts";
import type { Checkpoint } from "../../src/api/checkpoint.ts";
import { API_VERSION } from "../../src/api/group.ts";
import { checkpoints, isGood, isTerminal, requests, restores, schedules } from "../../src/api/kinds.ts";
import { SCHEDULE_ANNOTATION } from "../../src/api/labels.ts";
import { type ContainerStatus, findContainer, runtimeID, statusOf } from "../../src/api/pod.ts";
import { readRecords } from "../../src/api/records.ts";
import type { CheckpointRequest, RequestSpec } from "../../src/api/request.ts";
import type { CheckpointRestore, RestoreSpec } from "../../src/api/restore.ts";
import type { CheckpointSchedule, ScheduleSpec } from "../../src/api/schedule.ts";
import { Client } from "../../src/kube/client.ts";
import {
  type Deployment,
  deployments,
  events,
  namespaces,
  type Pod,
  pods,
} from "../../src/kube/resources.ts";
import { PLAIN_CLASS } from "./install.ts";
import { makeNamespace } from "./namespace.ts";
import { waitFor } from "./wait-for.ts";

/** A cron expression that is valid and not due while a test runs: checkpoints are then taken on demand. */
export const RARELY = "0 0 1 1 *";

type Container = NonNullable<Pod["spec"]>["containers"][number];

export interface DeployOptions {
  name?: string;
  /** The schedule annotation; absent: not protected. */
  schedule?: string;
  /** Which worker; default the one whose containerd restores from images. */
  node?: string;
  containers: Partial<Container>[];
  annotations?: Record<string, string>;
  podSpec?: object;
  /** What is to restore it: checkpoint images (default), or its node's handler where that is ready. */
  by?: "image" | "handler";
}

/** One test file's place in the shared cluster: a namespace of its own and the verbs that tests need. */
export class World {
  readonly cluster: Cluster;
  readonly client: Client;
  readonly namespace: string;

  private constructor(cluster: Cluster, client: Client, namespace: string) {
    this.cluster = cluster;
    this.client = client;
    this.namespace = namespace;
  }

  /** `name` is the shared cluster's (`inject("cluster")`). */
  static async enter(name: string, stem: string): Promise<World> {
    const cluster = await attach(name);
    const client = Client.fromConfig({ kubeconfig: cluster.kubeconfigPath, userAgent: "kcr-test" });
    return new World(cluster, client, await makeNamespace(client, stem));
  }

  /** Removes the namespace; what kcr keeps for it goes too, and is not waited for. */
  async leave(): Promise<void> {
    await this.client.delete(namespaces, { name: this.namespace });
    this.client.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.leave();
  }

  /** The workers by their containerd: images are restored by 2.3 only. */
  worker(containerd: "2.3" | "2.4"): string {
    const node = this.cluster.nodes.find((n) => n.containerd === containerd);
    if (node === undefined) throw new Error(`no worker with containerd ${containerd}`);
    return node.name;
  }

  /** Creates a Deployment of one pod and waits until the pod is ready. */
  async deploy(options: DeployOptions): Promise<Pod> {
    const { name = "app", schedule, containers, podSpec } = options;
    await this.client.create(deployments, {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: {
        name,
        namespace: this.namespace,
        annotations: {
          ...options.annotations,
          ...(schedule === undefined ? {} : { [SCHEDULE_ANNOTATION]: schedule }),
        },
      },
      spec: {
        selector: { matchLabels: { app: name } },
        template: {
          metadata: { labels: { app: name } },
          spec: {
            nodeName: options.node ?? this.worker("2.3"),
            terminationGracePeriodSeconds: 1,
            automountServiceAccountToken: false,
            ...(options.by === "handler" ? {} : { runtimeClassName: PLAIN_CLASS }),
            containers: containers.map((c, i) => ({ name: i === 0 ? "app" : `app-${i}`, ...c })),
            ...podSpec,
          },
        },
      },
    } as unknown as Deployment);
    return await this.podOf(name);
  }

  /** The ready pod of a Deployment. */
  podOf(deployment: string): Promise<Pod> {
    return waitFor(`a ready pod of ${deployment}`, async () => {
      const { items } = await this.client.list(pods, {
        namespace: this.namespace,
        labelSelector: `app=${deployment}`,
      });
      return items.find((p) => p.status?.conditions?.some((c) => c.type === "Ready" && c.status === "True"));
    });
  }

  /** Gives a Deployment the schedule annotation, or takes it away. */
  async annotate(deployment: string, schedule: string | null): Promise<void> {
    const body = { metadata: { annotations: { [SCHEDULE_ANNOTATION]: schedule } } };
    const name = { namespace: this.namespace, name: deployment };
    await this.client.patch(deployments, name, { type: "merge", body });
  }

  /** The schedule that a workload's annotation made, once it is there. */
  schedule(name: string): Promise<CheckpointSchedule> {
    return waitFor(`schedule ${name}`, () => this.client.get(schedules, { namespace: this.namespace, name }));
  }

  /** Changes fields of a schedule, as a person does for whom the annotation is not enough. */
  async amend(name: string, spec: Partial<ScheduleSpec>): Promise<void> {
    const { metadata } = await this.schedule(name);
    await this.client.patch(schedules, metadata, { type: "merge", body: { spec } });
  }

  pod(name: string): Promise<Pod> {
    return this.client.get(pods, { namespace: this.namespace, name });
  }

  /** The image that the container's pod names for it now. */
  async image(pod: Pod, container = "app"): Promise<string | undefined> {
    return findContainer(await this.pod(pod.metadata.name), container)?.image;
  }

  async container(pod: Pod, container = "app"): Promise<ContainerStatus> {
    const status = statusOf(await this.pod(pod.metadata.name), container);
    if (status === undefined) throw new Error(`no status of container ${container}`);
    return status;
  }

  /** Asks for a checkpoint of a container and waits until the request has ended. */
  async request(name: string, spec: RequestSpec): Promise<CheckpointRequest> {
    await this.ask(name, spec);
    return await this.ended(name);
  }

  /** Asks for a checkpoint of a container. */
  ask(name: string, spec: RequestSpec): Promise<CheckpointRequest> {
    const metadata = { namespace: this.namespace, name };
    return this.client.create(requests, { apiVersion: API_VERSION, kind: requests.kind, metadata, spec });
  }

  /** Waits until the request has ended. */
  ended(name: string): Promise<CheckpointRequest> {
    return waitFor(
      `request ${name} to end`,
      async () => {
        const request = await this.client.get(requests, { namespace: this.namespace, name });
        return isTerminal(request) && request;
      },
      { timeoutMs: 120_000 },
    );
  }

  #requests = 0;

  /** A good Checkpoint of a container as it is now, taken on demand. */
  async checkpoint(pod: Pod, container = "app"): Promise<Checkpoint> {
    const request = await this.request(
      `take-${container}-${this.#requests++}-${pod.metadata.name}`.slice(0, 200),
      {
        podReference: { name: pod.metadata.name },
        containerName: container,
      },
    );
    const name = request.status?.checkpoint?.name;
    if (name === undefined) throw new Error(`request failed: ${await this.#whyFailed(pod, request)}`);
    return await this.good(name);
  }

  /** Asks for a restore and waits until it has ended. */
  async goBack(name: string, spec: RestoreSpec): Promise<CheckpointRestore> {
    const metadata = { namespace: this.namespace, name };
    await this.client.create(restores, { apiVersion: API_VERSION, kind: restores.kind, metadata, spec });
    return await this.restored(name);
  }

  /** Waits until a restore that was asked for has ended. */
  restored(name: string): Promise<CheckpointRestore> {
    return waitFor(
      `CheckpointRestore ${name} to end`,
      async () => {
        const restore = await this.client.get(restores, { namespace: this.namespace, name });
        return isTerminal(restore) && restore;
      },
      { timeoutMs: 240_000 },
    );
  }

  /** What a failed request says, and what CRIU does where its log is named. */
  async #whyFailed(pod: Pod, { status }: CheckpointRequest): Promise<string> {
    const said = `${status?.reason}: ${status?.message}`;
    const log = /\S+criu-dump\.log/.exec(said)?.[0];
    if (log === undefined) return said;
    const lines = ["sh", "-c", 'grep -E "Error|Warn" "$0" || tail -n 20 "$0"', log];
    return `${said}\n${await this.cluster.nodeExec(pod.spec?.nodeName ?? "", lines).catch(String)}`;
  }

  /** Waits until the Checkpoint is good. */
  good(name: string): Promise<Checkpoint> {
    return waitFor(
      `Checkpoint ${name} to be good`,
      async () => {
        const checkpoint = await this.client.get(checkpoints, { namespace: this.namespace, name });
        return isGood(checkpoint) && checkpoint;
      },
      { timeoutMs: 120_000 },
    );
  }

  /** Ends the container's first process from its node, as a crash would: SIGKILL unless said. */
  async kill(pod: Pod, container = "app", signal = "SIGKILL"): Promise<void> {
    const { containerID } = await this.container(pod, container);
    const id = runtimeID(containerID);
    if (id === undefined) throw new Error(`container ${container} has no ID`);
    const node = pod.spec?.nodeName ?? "";
    await this.cluster.nodeExec(node, ["ctr", "-n", "k8s.io", "tasks", "kill", "-s", signal, id]);
  }

  /** Waits until a run of the container after `after` runs and was decided about, and gives its status. */
  settled(pod: Pod, after: number, container = "app", timeoutMs = 120_000): Promise<ContainerStatus> {
    return waitFor(
      `container ${container} to be settled after run ${after}`,
      async () => {
        const now = await this.pod(pod.metadata.name);
        const status = statusOf(now, container);
        const record = readRecords(now)[container];
        return (
          status?.state?.running !== undefined &&
          status.restartCount > after &&
          record?.restore === undefined &&
          record?.run === status.restartCount &&
          status
        );
      },
      { timeoutMs },
    );
  }

  /** Kills the container and waits for what kcr makes of it. */
  async crash(pod: Pod, container = "app"): Promise<ContainerStatus> {
    const before = await this.container(pod, container);
    await this.kill(pod, container);
    return await this.settled(pod, before.restartCount, container);
  }

  /** Runs a command in a container. */
  exec(pod: Pod, argv: string[], container = "app"): Promise<string> {
    return this.cluster.kubectl([
      ...["-n", this.namespace, "exec", pod.metadata.name, "-c", container, "--"],
      ...argv,
    ]);
  }

  /** The number in a file of a container's, which may be written to at this moment. */
  number(pod: Pod, file: string, container = "app"): Promise<number> {
    return waitFor(`a number in ${file}`, async () => {
      const text = (await this.exec(pod, ["cat", file], container)).trim();
      return /^\d+$/.test(text) && { value: Number(text) };
    }).then(({ value }) => value);
  }

  /** Waits for an Event with that reason about an object of that name (any, when not given). */
  event(reason: string, about?: string): Promise<{ note?: string }> {
    return waitFor(`Event ${reason}`, async () => {
      const { items } = await this.client.list(events, { namespace: this.namespace });
      return items.find((e) => e.reason === reason && (about === undefined || e.regarding?.name === about));
    });
  }
}

/** A container that counts in its memory four times a second and answers the number to whoever connects to 7000. */
export const counter = (world: World): Partial<Container> => ({
  image: world.cluster.images.busybox,
  // The number lives in the shell's memory alone; the file is only how it is read.
  command: ["/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo $i >/tmp/count; usleep 250000; done"],
});

/** What a `counter` has counted to. */
export const count = (world: World, pod: Pod, container = "app"): Promise<number> =>
  world.number(pod, "/tmp/count", container);

/** A Redis without files: its data is in memory alone. */
export const redis = (world: World): Partial<Container> => ({
  image: world.cluster.images.redis,
  command: ["redis-server", "--save", "", "--protected-mode", "no"],
  // Ready is who answers.
  readinessProbe: { tcpSocket: { port: 6379 }, periodSeconds: 1 },
});

/** One command to a Redis over TCP, from the host: its reply as Redis writes it. */
export function redisCommand(host: string, command: string, timeoutMs = 2000): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: 6379, timeout: timeoutMs });
    const fail = (error: Error) => {
      socket.destroy();
      reject(error);
    };
    socket.once("connect", () => socket.write(`${command}\r\n`));
    socket.once("data", (chunk) => {
      socket.destroy();
      resolve(chunk.toString().trim());
    });
    socket.once("timeout", () => fail(new Error("no answer")));
    socket.once("error", fail);
    socket.once("close", () => reject(new Error("closed without an answer")));
  });
}
