import { KcrError } from "../../api/errors.ts";
import {
  certificateSigningRequests,
  daemonSets,
  deployments,
  type KubeObject,
  leases,
  mutatingWebhookConfigurations,
  namespaces,
  pods,
  type Resource,
  runtimeClasses,
  secrets,
} from "../../kube/resources.ts";
import { absent, INSTALLER, KCR_NAMESPACE } from "../install/installed.ts";
import {
  MANIFEST_KINDS,
  validatingAdmissionPolicies,
  validatingAdmissionPolicyBindings,
} from "../install/kinds.ts";
import { removeData } from "./data.ts";
import { type InUse, keepInstallerOn, removeHandler } from "./handler.ts";
import { listOf, remove, type Step, some, untilGone } from "./step.ts";
import { cleanNodes, cleanWorkloads, nameData, nodesWithData } from "./traces.ts";

/** By which everything of kcr's that is in no namespace of its own is known. */
const LABEL = "app.kubernetes.io/part-of=kcr";
/** Signers of kcr's own; what they were asked for is of no use to anybody else. */
const SIGNERS = "kcr.io/";

export interface UninstallOptions {
  /** Leave kinds, objects, and the checkpoints on the nodes. */
  keepData: boolean;
  /** How long the nodes may take. */
  timeoutMs: number;
}

/** What came of it. */
export type Uninstalled = "nothing-there" | "gone" | "in-use";

/**
 * Takes kcr out of the cluster and off its nodes, in this order: nothing new is protected; all Checkpoints go, while
 * there is somebody to remove their bytes; the programs; what held them; the handler; notes on nodes and pods; what is
 * left by its label; the namespaces.
 *
 * Guarantees: no pod of anybody's is ended or changed but for kcr's own notes on it. Cut short at any point, another
 * run goes on. What was kept on the nodes, and nobody is left to remove, is named. A handler that running pods need stays, with what it takes to remove it once they have ended.
 *
 * Errors: KcrError UninstallIncomplete; those of the API.
 */
export async function uninstall(step: Step, { keepData, timeoutMs }: UninstallOptions): Promise<Uninstalled> {
  if (!(await isThere(step))) return "nothing-there";
  for (const { metadata } of await listOf(step, mutatingWebhookConfigurations, { labelSelector: LABEL })) {
    await remove(step, mutatingWebhookConfigurations, metadata);
  }
  if (!keepData) await removeData(step);
  await removePrograms(step);
  // What holds kcr's programs to what they need is in the way of whoever cleans up after them.
  for (const kind of [validatingAdmissionPolicyBindings, validatingAdmissionPolicies]) {
    for (const { metadata } of await listOf(step, kind, { labelSelector: LABEL }))
      await remove(step, kind, metadata);
  }
  const handled = await removeHandler(step, { purge: !keepData, timeoutMs });
  const inUse = handled ?? [];
  await cleanNodes(step, { inUse, data: handled === undefined ? "unknown" : keepData ? "kept" : "gone" });
  if (!keepData) await cleanWorkloads(step);
  await removeLabelled(step, { keepData, inUse });
  if (inUse.length > 0) {
    await keepInstallerOn(step, inUse);
    await emptyNamespace(step);
  }
  await removeNamespaces(step, inUse.length > 0 ? [KCR_NAMESPACE] : []);
  if (!keepData) await nameData(step);
  return inUse.length > 0 ? "in-use" : "gone";
}

/** Whether anything of kcr's is there, or a note that there is on the nodes. */
async function isThere(step: Step): Promise<boolean> {
  const kinds = MANIFEST_KINDS.filter(({ namespaced }) => !namespaced);
  const found = await Promise.all(kinds.map((kind) => listOf(step, kind, { labelSelector: LABEL })));
  return found.flat().length > 0 || (await nodesWithData(step)).length > 0;
}

/** Ends all programs but the installer's. */
async function removePrograms(step: Step): Promise<void> {
  step.doing("ending operator and agents");
  const namespaced = (await ownNamespaces(step)).map(({ metadata }) => metadata.name);
  for (const kind of [deployments, daemonSets] as Resource[]) {
    for (const namespace of namespaced) {
      for (const { metadata } of await listOf(step, kind, { namespace })) {
        if (metadata.name !== INSTALLER) await remove(step, kind, metadata);
      }
    }
  }
  const left = await untilGone(step, "ending operator and agents", async () => {
    const all = (await Promise.all(namespaced.map((namespace) => listOf(step, pods, { namespace })))).flat();
    const others = all.filter(({ metadata }) => metadata.labels?.["app.kubernetes.io/name"] !== INSTALLER);
    // Nobody is left who would remove what tests and probes have begun.
    for (const { metadata } of others.filter(({ metadata }) => !metadata.ownerReferences?.length)) {
      await remove(step, pods, metadata);
    }
    return others;
  });
  if (left.length > 0) {
    const names = left.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
    throw new KcrError("UninstallIncomplete", `these pods of kcr's do not end: ${some(names)}`);
  }
  step.done("ended operator and agents");
}

async function ownNamespaces(step: Step): Promise<KubeObject[]> {
  const labelled = await listOf(step, namespaces, { labelSelector: LABEL });
  return labelled.filter(
    ({ metadata }) => metadata.name === KCR_NAMESPACE || metadata.name.startsWith("kcr-"),
  );
}

/** What is in no namespace: roles, classes, and what was asked of kcr's signers. */
async function removeLabelled(
  step: Step,
  { keepData, inUse }: { keepData: boolean; inUse: readonly InUse[] },
): Promise<void> {
  step.doing("removing roles and classes");
  const isInUse = inUse.length > 0;
  const kept = ["Namespace", ...(keepData ? ["CustomResourceDefinition"] : [])];
  for (const kind of MANIFEST_KINDS.filter((one) => !one.namespaced && !kept.includes(one.kind))) {
    for (const { metadata } of await listOf(step, kind, { labelSelector: LABEL })) {
      const isClass = kind.kind === runtimeClasses.kind && metadata.name === "kcr";
      if (isInUse && (isClass || metadata.name === INSTALLER)) continue;
      await remove(step, kind, metadata);
    }
  }
  for (const { metadata, spec } of await listOf(step, certificateSigningRequests)) {
    if (spec?.signerName.startsWith(SIGNERS)) await remove(step, certificateSigningRequests, metadata);
  }
  step.done("removed webhook, policies, roles and classes");
}

/** Leaves in kcr's namespace what the installer needs, and what people have put there. */
async function emptyNamespace(step: Step): Promise<void> {
  const { client, signal } = step;
  const namespace = KCR_NAMESPACE;
  const installer = await absent(client.get(daemonSets, { namespace, name: INSTALLER }, { signal }));
  const used =
    installer?.spec?.template.spec?.volumes?.flatMap(({ configMap }) => configMap?.name ?? []) ?? [];
  const kept = [INSTALLER, "default", "kube-root-ca.crt", ...used];
  const kinds = MANIFEST_KINDS.filter(
    ({ namespaced, kind }) => namespaced && kind !== "DaemonSet" && kind !== "ResourceQuota",
  );
  for (const kind of [...kinds, leases] as Resource[]) {
    for (const { metadata } of await listOf(step, kind, { namespace })) {
      if (!kept.includes(metadata.name)) await remove(step, kind, metadata);
    }
  }
  for (const { metadata } of await listOf(step, secrets, { namespace })) {
    if (OWN_SECRETS.includes(metadata.name)) await remove(step, secrets, metadata);
  }
  step.stays(
    `namespace ${namespace} with DaemonSet ${INSTALLER}, which removes the handler when those pods have ended, and RuntimeClass kcr`,
  );
}

/** Keys that the operator has made. */
const OWN_SECRETS = ["kcr-webhook", "kcr-transfer-ca", "kcr-download"];

async function removeNamespaces(step: Step, kept: readonly string[]): Promise<void> {
  const going = (await ownNamespaces(step))
    .map(({ metadata }) => metadata.name)
    .filter((name) => !kept.includes(name));
  for (const name of going) await remove(step, namespaces, { name });
  const left = await untilGone(step, "removing namespaces", async () =>
    (await ownNamespaces(step)).filter(({ metadata }) => going.includes(metadata.name)),
  );
  if (left.length > 0) {
    const names = left.map(({ metadata }) => metadata.name);
    throw new KcrError("UninstallIncomplete", `these namespaces do not go: ${names.join(", ")}`);
  }
  if (going.length > 0)
    step.done(`removed ${going.length === 1 ? "namespace" : "namespaces"} ${going.join(", ")}`);
}
