import { KcrError } from "../../api/errors.ts";
import type { Client } from "../../kube/client.ts";
import { type DaemonSet, daemonSets, events, type Pod, pods } from "../../kube/resources.ts";
import { delay } from "../../kube/signals.ts";
import { absent, INSTALLER, KCR_NAMESPACE } from "../install/installed.ts";
import { count, type Step, some } from "./step.ts";

/** A node whose handler stays, and the pods it stays for: `namespace/name`. */
export interface InUse {
  node: string;
  pods: string[];
}

/** RuntimeClasses whose pods call the handler's program to their end. */
const CLASSES = ["kcr", "kcr-selftest"];
const POLL_MS = 500;
const name = { namespace: KCR_NAMESPACE, name: INSTALLER };

/**
 * Has the installer take the handler off the nodes, and waits until every node is done or waits for its pods.
 * Undefined where there is no installer, and so nobody who could do anything on a node.
 *
 * Errors: KcrError UninstallIncomplete that names the nodes where neither is so in time.
 */
export async function removeHandler(
  step: Step,
  { purge, timeoutMs }: { purge: boolean; timeoutMs: number },
): Promise<InUse[] | undefined> {
  const { client, signal } = step;
  const installer = await absent(client.get(daemonSets, name, { signal }));
  if (installer === undefined) return undefined;
  const args = ["/opt/kcr/installer.mjs", "uninstall", ...(purge ? ["--purge"] : [])];
  const told = await client.patch(
    daemonSets,
    name,
    // No affinity: a node that was done before may have the handler again.
    { type: "strategic", body: template({ initContainers: [{ name: "install", args }], affinity: null }) },
    { signal },
  );
  const end = performance.now() + timeoutMs;
  for (;;) {
    const { late, inUse, said } = await look(client, told, signal);
    if (late.length === 0) {
      if (inUse.length === 0) step.done("took the runtime handler off all nodes");
      return inUse;
    }
    step.doing(`taking the runtime handler off ${some(late)}`);
    if (performance.now() > end) {
      throw new KcrError(
        "UninstallIncomplete",
        `the runtime handler is still on ${some(late)}${said === undefined ? "" : `; its installer says: ${said}`}`,
      );
    }
    await delay(POLL_MS, signal);
  }
}

/** Leaves the installer on those nodes alone: there it waits for the end of the pods, and then removes the rest. */
export async function keepInstallerOn(step: Step, inUse: readonly InUse[]): Promise<void> {
  const nodeSelectorTerms = inUse.map(({ node }) => ({
    // One name each is all that the API takes.
    matchFields: [{ key: "metadata.name", operator: "In", values: [node] }],
  }));
  const affinity = {
    nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } },
  };
  await step.client.patch(
    daemonSets,
    name,
    { type: "strategic", body: template({ affinity }) },
    { signal: step.signal },
  );
  for (const { node, pods } of inUse) {
    step.stays(
      `${node}: the runtime handler, which passes everything on, for ${count(pods.length, "pod")} of class kcr: ${some(pods)}`,
    );
  }
}

const template = (spec: object): object => ({ spec: { template: { spec } } });

interface Progress {
  /** Nodes that are not done, and do not wait either. */
  late: string[];
  inUse: InUse[];
  /** What went wrong on one that is late. */
  said?: string;
}

async function look(client: Client, { metadata }: DaemonSet, signal: AbortSignal): Promise<Progress> {
  const [now, { items }, { items: told }, everywhere] = await Promise.all([
    client.get(daemonSets, name, { signal }),
    client.list(pods, {
      namespace: KCR_NAMESPACE,
      labelSelector: `app.kubernetes.io/name=${INSTALLER}`,
      signal,
    }),
    client.listAll(events, { namespace: KCR_NAMESPACE, fieldSelector: "type=Warning", signal }),
    client.listAll(pods, { signal }),
  ]);
  const { observedGeneration = 0, desiredNumberScheduled = 0, updatedNumberScheduled = 0 } = now.status ?? {};
  if (observedGeneration < (metadata.generation ?? 0)) return { late: ["all nodes"], inUse: [] };
  const current = items.filter(
    (pod) =>
      pod.metadata.deletionTimestamp === undefined &&
      pod.spec?.initContainers?.some(({ args }) => args?.includes("uninstall")),
  );
  const late =
    updatedNumberScheduled < desiredNumberScheduled || current.length < desiredNumberScheduled
      ? ["some nodes"]
      : [];
  const inUse: InUse[] = [];
  let said: string | undefined;
  for (const pod of current.filter((one) => !isReady(one))) {
    const node = pod.spec?.nodeName ?? "";
    const own = told.filter(
      ({ regarding, reportingController }) =>
        regarding?.uid === pod.metadata.uid && reportingController === INSTALLER,
    );
    const isWaiting = own.some(({ reason }) => reason === "HandlerInUse");
    const users = everywhere.items.filter(
      ({ spec }) => spec?.nodeName === node && CLASSES.includes(spec.runtimeClassName ?? ""),
    );
    if (isWaiting && users.length > 0) {
      inUse.push({ node, pods: users.map((one) => `${one.metadata.namespace}/${one.metadata.name}`) });
    } else {
      late.push(node);
      said ??= own.findLast(({ reason }) => reason !== "HandlerInUse")?.note;
    }
  }
  return { late, inUse, said };
}

const isReady = ({ status }: Pod): boolean =>
  status?.conditions?.some((c) => c.type === "Ready" && c.status === "True") ?? false;
