import type { Checkpoint } from "../../api/checkpoint.ts";
import { GROUP } from "../../api/group.ts";
import { checkpoints, isTerminal, requests } from "../../api/kinds.ts";
import {
  type CustomResourceDefinition,
  customResourceDefinitions,
  deployments,
  type KubeObject,
  type Resource,
  resource,
} from "../../kube/resources.ts";
import { absent, KCR_NAMESPACE, OPERATOR } from "../install/installed.ts";
import { count, listOf, remove, type Step, some, untilGone } from "./step.ts";

const SCHEDULES = `checkpointschedules.${GROUP}`;

/**
 * Removes kcr's kinds with all objects of theirs, while operator and agents still run, for they remove the bytes
 * behind a Checkpoint before they let it go.
 *
 * Flow: the schedules' kind first, so that nothing new is asked for (a kind that is being deleted takes no new objects,
 * which also keeps the operator from making them anew), then what is under way is let end, then all other kinds.
 * Guarantees: what nobody lets go of within the step's patience goes without its bytes, which are named then.
 */
export async function removeData(step: Step): Promise<void> {
  const { client, signal } = step;
  const kinds = (await listOf(step, customResourceDefinitions)).filter(({ spec }) => spec?.group === GROUP);
  if (kinds.length === 0) return;
  const amount = (await listOf(step, checkpoints)).length;

  step.doing("removing schedules");
  for (const { metadata } of kinds) {
    if (metadata.name === SCHEDULES) await remove(step, customResourceDefinitions, metadata);
  }
  await untilGone(step, "letting dumps end", async () =>
    (await listOf(step, requests)).filter(
      (request) => !isTerminal(request) && request.status?.phase === "InProgress",
    ),
  );
  for (const { metadata } of kinds) await remove(step, customResourceDefinitions, metadata);

  const operator = await absent(
    client.get(deployments, { namespace: KCR_NAMESPACE, name: OPERATOR }, { signal }),
  );
  const isAlone = !operator?.status?.readyReplicas;
  const objects = async () =>
    (await Promise.all(kinds.map((kind) => listOf(step, resourceFor(kind))))).flat();
  const patient = isAlone ? { ...step, patienceMs: 0 } : step;
  const left = await untilGone(patient, "removing Checkpoints", objects);
  if (left.length > 0) await letGo(step, kinds, left);
  await untilGone(step, "removing kcr's kinds", async () =>
    (await listOf(step, customResourceDefinitions)).filter(({ spec }) => spec?.group === GROUP),
  );
  step.done(`removed kcr's kinds${amount === 0 ? "" : `, with ${count(amount, "Checkpoint")}`}`);
}

/** Takes kcr's finalizers off what nobody lets go of. */
async function letGo(
  step: Step,
  kinds: readonly CustomResourceDefinition[],
  left: readonly KubeObject[],
): Promise<void> {
  const { client, signal } = step;
  for (const object of left.filter(({ metadata }) => metadata.finalizers?.length)) {
    const kind = kinds.find(({ spec }) => spec?.names.kind === object.kind);
    if (kind === undefined) continue;
    const { resourceVersion, finalizers = [] } = object.metadata;
    // Those of others are theirs to take off.
    const others = finalizers.filter((finalizer) => !finalizer.startsWith(`${GROUP}/`));
    const patch = { type: "merge", body: { metadata: { resourceVersion, finalizers: others } } } as const;
    await absent(client.patch(resourceFor(kind), object.metadata, patch, { signal }));
  }
  const bytes = left.filter(({ kind }) => kind === checkpoints.kind) as Checkpoint[];
  const images = bytes.flatMap(({ status }) => status?.runtimeImage ?? []);
  if (images.length > 0) {
    step.stays(
      `${count(images.length, "image")} in the registry, which nobody could delete: ${some(images)}`,
    );
  }
  const archives = bytes.map(({ spec }) => `${spec.checkpointData} on ${spec.nodeName}`);
  if (archives.length > 0) {
    step.stays(
      `perhaps ${count(archives.length, "archive")} in the kubelets' checkpoint directories: ${some(archives)}`,
    );
  }
}

function resourceFor({ spec }: CustomResourceDefinition): Resource {
  const { group = "", names, versions = [], scope } = spec ?? {};
  const version = versions.find(({ storage }) => storage)?.name ?? "v1";
  return resource({
    group,
    version,
    plural: names?.plural ?? "",
    kind: names?.kind ?? "",
    namespaced: scope === "Namespaced",
  });
}
