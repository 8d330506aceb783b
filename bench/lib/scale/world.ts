import { SCHEDULE_ANNOTATION } from "../../../src/api/labels.ts";
import type { Client, Draft } from "../../../src/kube/client.ts";
import { isAlreadyExists } from "../../../src/kube/errors.ts";
import { ownerReference } from "../../../src/kube/owner.ts";
import {
  type Deployment,
  deployments,
  type KubeObject,
  namespaces,
  nodes,
  pods,
  type Resource,
  replicaSets,
} from "../../../src/kube/resources.ts";
import { inParallel } from "./parallel.ts";

/** How many pods a node has, and workloads a namespace. */
const PER_NODE = 100;
const PER_NAMESPACE = 100;
/** Writes to the API server at once. */
const AT_ONCE = 48;

export const nodeOf = (number: number): string => `node-${Math.floor(number / PER_NODE)}`;
export const namespaceOf = (number: number): string => `team-${Math.floor(number / PER_NAMESPACE)}`;
export const workloadOf = (number: number): string => `web-${number}`;

/**
 * Makes `size` annotated Deployments of one running pod each, with the nodes they run on. No kubelet, scheduler or
 * controller manager is behind them: pods and nodes are objects only, and say what those would have written.
 */
export async function makeWorld(
  client: Client,
  size: number,
  cron: string,
  signal: AbortSignal,
): Promise<void> {
  const some = (count: number) => Array.from({ length: Math.ceil(count) }, (_, number) => number);
  await inParallel(some(size / PER_NODE), AT_ONCE, signal, async (number) => {
    const node = await ensure(client, nodes, { metadata: { name: `node-${number}` } } as KubeObject);
    const allocatable = { cpu: "1000", memory: "4000Gi", pods: "1000" };
    const status = { allocatable, capacity: allocatable, conditions: [{ type: "Ready", status: "True" }] };
    await client.patch(
      nodes,
      node.metadata,
      { type: "strategic", body: { status } },
      { subresource: "status" },
    );
  });
  await inParallel(some(size / PER_NAMESPACE), AT_ONCE, signal, (number) =>
    ensure(client, namespaces, { metadata: { name: `team-${number}` } } as KubeObject),
  );
  await inParallel(some(size), AT_ONCE, signal, (number) => makeWorkload(client, number, cron));
}

async function makeWorkload(client: Client, number: number, cron: string): Promise<void> {
  const [namespace, name] = [namespaceOf(number), workloadOf(number)];
  const labels = { app: name };
  const containers = [{ name: "app", image: "registry.example/app:1" }];
  const template = { metadata: { labels }, spec: { containers } };
  const selector = { matchLabels: labels };
  const deployment = await ensure(client, deployments, {
    metadata: { name, namespace, labels, annotations: { [SCHEDULE_ANNOTATION]: cron } },
    spec: { selector, template },
  } as unknown as Deployment);
  const set = await ensure(client, replicaSets, {
    metadata: { name, namespace, labels, ownerReferences: [ownerReference(deployment, true)] },
    spec: { selector, template },
  } as unknown as KubeObject);
  const pod = await ensure(client, pods, {
    metadata: { name, namespace, labels, ownerReferences: [ownerReference(set, true)] },
    spec: { nodeName: nodeOf(number), containers },
  } as unknown as KubeObject);
  const containerStatuses = containers.map((container) => ({
    ...container,
    containerID: `containerd://${name}`,
    imageID: "registry.example/app@sha256:".padEnd(91, "0"),
    ready: true,
    restartCount: 0,
    state: { running: { startedAt: pod.metadata.creationTimestamp } },
  }));
  await client.patch(
    pods,
    pod.metadata,
    { type: "strategic", body: { status: { phase: "Running", containerStatuses } } },
    { subresource: "status" },
  );
}

/** The object, as it was made now or before. */
async function ensure<T extends KubeObject>(
  client: Client,
  resource: Resource<T>,
  draft: Draft<T>,
): Promise<T> {
  const { namespace, name = "" } = draft.metadata;
  return await client.create(resource, draft).catch((error: unknown) => {
    if (isAlreadyExists(error)) return client.get(resource, { namespace, name });
    throw error;
  });
}

/** Gives workloads that schedule. */
export async function reschedule(
  client: Client,
  numbers: readonly number[],
  cron: string,
  signal: AbortSignal,
): Promise<void> {
  await inParallel(numbers, AT_ONCE, signal, (number) =>
    client.patch(
      deployments,
      { namespace: namespaceOf(number), name: workloadOf(number) },
      { type: "merge", body: { metadata: { annotations: { [SCHEDULE_ANNOTATION]: cron } } } },
    ),
  );
}
