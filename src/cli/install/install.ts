import type { Client } from "../../kube/client.ts";
import {
  daemonSets,
  deployments,
  events,
  type KubeObject,
  nodes,
  type ObjectName,
  pods,
} from "../../kube/resources.ts";
import { delay } from "../../kube/signals.ts";
import { AGENT, INSTALLER, KCR_NAMESPACE, OPERATOR } from "./installed.ts";
import { resourceOf } from "./kinds.ts";
import { type Observed, type Problem, type Readiness, readinessOf } from "./readiness.ts";

/** The same as of `kubectl apply --server-side`, so that either may follow the other and take its fields over. */
export const FIELD_MANAGER = "kubectl";

const POLL_MS = 1_000;

/** Makes the cluster have these objects, as they are given. Errors: those of the API, at the first that it refuses. */
export async function applyAll(
  client: Client,
  objects: readonly KubeObject[],
  told: (object: KubeObject) => void,
  signal: AbortSignal,
): Promise<void> {
  for (const object of objects) {
    told(object);
    await client.apply(resourceOf(object), object, { fieldManager: FIELD_MANAGER, force: true, signal });
  }
}

/** What came of waiting: nothing is `waiting` when all has come up that can. */
export async function waitUntilReady(
  client: Client,
  { handler, selftest, timeoutMs }: { handler: boolean; selftest: boolean; timeoutMs: number },
  told: (readiness: Readiness) => void,
  signal: AbortSignal,
): Promise<Readiness> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const readiness = readinessOf(await observe(client, { handler, selftest }, signal));
    told(readiness);
    if (readiness.waiting.length === 0 || performance.now() > end) return readiness;
    await delay(POLL_MS, signal);
  }
}

async function observe(
  client: Client,
  { handler, selftest }: { handler: boolean; selftest: boolean },
  signal: AbortSignal,
): Promise<Observed> {
  const named = (name: string): ObjectName => ({ namespace: KCR_NAMESPACE, name });
  const [operator, agent, installer, installerPods, allNodes, allEvents] = await Promise.all([
    client.get(deployments, named(OPERATOR), { signal }),
    client.get(daemonSets, named(AGENT), { signal }),
    handler ? client.get(daemonSets, named(INSTALLER), { signal }) : undefined,
    client.list(pods, {
      namespace: KCR_NAMESPACE,
      labelSelector: `app.kubernetes.io/name=${INSTALLER}`,
      signal,
    }),
    client.listAll(nodes, { signal }),
    client.listAll(events, { namespace: KCR_NAMESPACE, signal }),
  ]);
  return {
    operator,
    agent,
    installer,
    installerPods: installerPods.items,
    nodes: allNodes.items,
    events: allEvents.items,
    selftest,
  };
}

export type { Problem, Readiness };
