import { RUNTIME_HANDLER } from "../../api/checkpoint.ts";
import { checkpoints, isTerminal, requests, schedules } from "../../api/kinds.ts";
import { hasHandlerReady } from "../../api/selftest.ts";
import { type Client, objectPath } from "../../kube/client.ts";
import { ApiError, isForbidden } from "../../kube/errors.ts";
import { parseQuantity } from "../../kube/quantity.ts";
import {
  mutatingWebhookConfigurations,
  nodes,
  type Pod,
  pods,
  type Resource,
  runtimeClasses,
} from "../../kube/resources.ts";
import { AGENT, absent, findInstalled, KCR_NAMESPACE, settingsOf } from "../install/installed.ts";
import type { Facts, Known } from "./facts.ts";

/** What is the same for every pod of a cluster, asked for once. */
export type Around = Pick<Facts, "handlerNodes" | "settings" | "runtimeClass" | "webhook">;

/** Errors: where the API server does not answer. What the person may not read is among the facts. */
export async function gatherAround(client: Client, signal: AbortSignal): Promise<Around> {
  const [handlerNodes, settings, runtimeClass, webhook] = await Promise.all([
    known("the cluster's nodes", async () => {
      const { items } = await client.listAll(nodes, { signal });
      return items.filter(hasHandlerReady);
    }),
    known("kcr's settings", async () => {
      const installed = await findInstalled(client, signal);
      return installed && settingsOf(installed);
    }),
    known("RuntimeClass kcr", () =>
      absent(client.get(runtimeClasses, { name: RUNTIME_HANDLER }, { signal })),
    ),
    known("kcr's webhook", () =>
      absent(client.get(mutatingWebhookConfigurations, { name: "kcr" }, { signal })),
    ),
  ]);
  const read: Facts["settings"] =
    "why" in settings
      ? settings
      : settings.value === undefined
        ? { why: "kcr's settings were not found" }
        : { value: settings.value };
  return { handlerNodes, settings: read, runtimeClass, webhook };
}

/** Everything that can be found out of one container. Errors: as {@link gatherAround}; 404 where kcr is not installed. */
export async function gather(
  client: Client,
  pod: Pod,
  container: string,
  around: Around,
  signal: AbortSignal,
): Promise<Omit<Facts, "program" | "again">> {
  const { namespace = "" } = pod.metadata;
  const node = pod.spec?.nodeName;
  const nowhere = { why: "the pod is on no node yet" };
  const [found, agent, own, taken, asked, memory] = await Promise.all([
    node ? known(`node ${node}`, () => client.get(nodes, { name: node }, { signal })) : nowhere,
    node ? known("kcr's agents", () => agentOn(client, node, signal)) : nowhere,
    known(
      "the namespace's schedules",
      async () => (await client.listAll(schedules, { namespace, signal })).items,
    ),
    known("the namespace's Checkpoints", async () => {
      const fieldSelector = `spec.containerName=${container}`;
      const { items } = await client.listAll(checkpoints, { namespace, fieldSelector, signal });
      return items
        .filter(({ status }) => status?.lineage?.podUID === pod.metadata.uid)
        .sort((a, b) => Date.parse(b.spec.checkpointTimestamp) - Date.parse(a.spec.checkpointTimestamp));
    }),
    known("the namespace's CheckpointRequests", async () => {
      const { items } = await client.listAll(requests, { namespace, signal });
      return items
        .filter(
          (request) =>
            isTerminal(request) &&
            request.status?.podUID === pod.metadata.uid &&
            request.status?.containerName === container,
        )
        .sort((a, b) => created(b) - created(a));
    }),
    memoryOf(client, pod, container, signal),
  ]);
  return {
    pod,
    container,
    node: found,
    agent,
    schedules: own,
    checkpoints: taken,
    requests: asked,
    memory,
    ...around,
  };
}

const created = ({ metadata }: { metadata: { creationTimestamp?: string } }): number =>
  Date.parse(metadata.creationTimestamp ?? "");

async function agentOn(client: Client, node: string, signal: AbortSignal): Promise<Pod | undefined> {
  const { items } = await client.list(pods, {
    namespace: KCR_NAMESPACE,
    labelSelector: `app.kubernetes.io/name=${AGENT}`,
    fieldSelector: `spec.nodeName=${node}`,
    signal,
  });
  return items.find(({ metadata }) => metadata.deletionTimestamp === undefined);
}

/** Of the metrics API, which a cluster need not have. Source: metrics.k8s.io/v1beta1, PodMetrics. */
const podMetrics: Resource = {
  group: "metrics.k8s.io",
  version: "v1beta1",
  plural: "pods",
  kind: "PodMetrics",
  namespaced: true,
};

async function memoryOf(
  client: Client,
  pod: Pod,
  container: string,
  signal: AbortSignal,
): Promise<Known<number>> {
  interface PodMetrics {
    containers?: { name: string; usage?: { memory?: string } }[];
  }
  try {
    const path = objectPath(podMetrics, pod.metadata);
    const { containers } = await client.request<PodMetrics>("GET", path, { signal });
    const usage = containers?.find(({ name }) => name === container)?.usage?.memory;
    return usage === undefined
      ? { why: "the metrics API does not know its memory yet" }
      : { value: parseQuantity(usage) };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return {
      why: isForbidden(error) ? mayNot("the pod's metrics") : "the cluster has no metrics of its memory",
    };
  }
}

const mayNot = (what: string): string => `${what}: you may not read them`;

/** What may be forbidden to the person who asks. */
async function known<T>(what: string, ask: () => Promise<T>): Promise<Known<T>> {
  try {
    return { value: await ask() };
  } catch (error) {
    if (isForbidden(error)) return { why: mayNot(what) };
    throw error;
  }
}
