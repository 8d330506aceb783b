import type { Client } from "../../kube/client.ts";
import {
  type DaemonSet,
  daemonSets,
  deployments,
  events,
  type KubeObject,
  nodes,
  pods,
  type Resource,
} from "../../kube/resources.ts";
import { delay } from "../../kube/signals.ts";
import { absent, INSTALLER, KCR_NAMESPACE } from "./installed.ts";
import { resourceOf } from "./kinds.ts";
import { type Observed, type Readiness, readinessOf } from "./readiness.ts";

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

/**
 * Removes the installer that an uninstall has left for pods of some nodes: bound to those, which no apply would undo,
 * for it is not among what is applied.
 */
export async function removeBoundInstaller(client: Client, signal: AbortSignal): Promise<void> {
  const name = { namespace: KCR_NAMESPACE, name: INSTALLER };
  const found = await absent(client.get(daemonSets, name, { signal }));
  if (found?.spec?.template.spec?.affinity === undefined) return;
  await client.delete(daemonSets, name, { propagationPolicy: "Background", signal });
  while ((await absent(client.get(daemonSets, name, { signal }))) !== undefined) await delay(POLL_MS, signal);
}

export interface WaitOptions {
  /** What was applied: its programs are waited for. */
  objects: readonly KubeObject[];
  /** Whether agents try the handler and label nodes. */
  selftest: boolean;
  timeoutMs: number;
}

/** What came of waiting: nothing is `waiting` when all has come up that can. */
export async function waitUntilReady(
  client: Client,
  { timeoutMs, ...what }: WaitOptions,
  told: (readiness: Readiness) => void,
  signal: AbortSignal,
): Promise<Readiness> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const readiness = readinessOf(await observe(client, what, signal));
    told(readiness);
    if (readiness.waiting.length === 0 || performance.now() > end) return readiness;
    await delay(POLL_MS, signal);
  }
}

async function observe(
  client: Client,
  { objects, selftest }: Omit<WaitOptions, "timeoutMs">,
  signal: AbortSignal,
): Promise<Observed> {
  const now = <T extends KubeObject>(resource: Resource<T>): Promise<T[]> =>
    Promise.all(
      objects
        .filter(({ kind }) => kind === resource.kind)
        .map(({ metadata }) => client.get(resource, metadata, { signal })),
    );
  const [allDeployments, allDaemonSets, installerPods, allNodes, allEvents] = await Promise.all([
    now(deployments),
    now(daemonSets),
    client.list(pods, {
      namespace: KCR_NAMESPACE,
      labelSelector: `app.kubernetes.io/name=${INSTALLER}`,
      signal,
    }),
    client.listAll(nodes, { signal }),
    client.listAll(events, { namespace: KCR_NAMESPACE, signal }),
  ]);
  const isInstaller = ({ metadata }: DaemonSet) => metadata.name === INSTALLER;
  return {
    deployments: allDeployments,
    daemonSets: allDaemonSets.filter((one) => !isInstaller(one)),
    installer: allDaemonSets.find(isInstaller),
    installerPods: installerPods.items,
    nodes: allNodes.items,
    events: allEvents.items,
    selftest,
  };
}
