import {
  KEPT_ANNOTATION,
  RECORD_ANNOTATION,
  RESTORE_FROM_ANNOTATION,
  RUNTIME_LABEL,
  SCHEDULE_ANNOTATION,
} from "../../api/labels.ts";
import { readRecords } from "../../api/records.ts";
import {
  daemonSets,
  deployments,
  jobs,
  type KubeObject,
  nodes,
  type Pod,
  pods,
  type Resource,
  statefulSets,
} from "../../kube/resources.ts";
import { DEFAULT_ROOT } from "../../store/layout.ts";
import { absent } from "../install/installed.ts";
import type { InUse } from "./handler.ts";
import { count, listOf, type Step, some } from "./step.ts";

const OURS = "kcr.io/";
const isOurs = (key: string): boolean => key.startsWith(OURS);

/**
 * Takes kcr's labels and annotations off the nodes, less the label that pods of class kcr are held by. `data`: that the
 * checkpoints on the nodes are kept, is noted on them; that they are gone, that no note says so any more; `unknown`
 * leaves such notes as they are.
 */
export async function cleanNodes(
  step: Step,
  { inUse, data }: { inUse: readonly InUse[]; data: "kept" | "gone" | "unknown" },
): Promise<void> {
  const { client, signal } = step;
  step.doing("taking labels off the nodes");
  for (const { metadata } of await listOf(step, nodes)) {
    const { name, labels = {}, annotations = {} } = metadata;
    const kept = inUse.some(({ node }) => node === name) ? [RUNTIME_LABEL] : [];
    const drop = (keys: Record<string, string>) =>
      Object.fromEntries(
        Object.keys(keys)
          .filter((key) => isOurs(key) && !kept.includes(key))
          .map((key) => [key, null]),
      );
    const { [KEPT_ANNOTATION]: note, ...others } = annotations;
    const isOwn = Object.keys({ ...labels, ...others }).some(isOurs);
    const noted =
      data === "kept" && isOwn && note === undefined
        ? { [KEPT_ANNOTATION]: DEFAULT_ROOT }
        : data === "gone" && note !== undefined
          ? { [KEPT_ANNOTATION]: null }
          : {};
    const body = { metadata: { labels: drop(labels), annotations: { ...drop(others), ...noted } } };
    if (Object.keys(body.metadata.labels).length + Object.keys(body.metadata.annotations).length === 0)
      continue;
    await absent(client.patch(nodes, { name }, { type: "merge", body }, { signal }));
  }
}

/** The nodes with a note that the checkpoints on them were kept. */
export async function nodesWithData(step: Step): Promise<string[]> {
  const all = await listOf(step, nodes);
  return all
    .filter(({ metadata }) => metadata.annotations?.[KEPT_ANNOTATION] !== undefined)
    .map(({ metadata }) => metadata.name);
}

/** Says where checkpoints stay that nobody is left to remove, and takes the notes of them off the nodes. */
export async function nameData(step: Step): Promise<void> {
  const { client, signal } = step;
  const names = await nodesWithData(step);
  if (names.length === 0) return;
  step.stays(
    `${DEFAULT_ROOT} with copies of checkpoints, from an uninstall that kept them, on ${names.join(", ")}: remove that directory there, or do kcr install and kcr uninstall`,
  );
  const body = { metadata: { annotations: { [KEPT_ANNOTATION]: null } } };
  for (const name of names) await absent(client.patch(nodes, { name }, { type: "merge", body }, { signal }));
}

/** Takes off pods and workloads what kcr wrote on them; not what people wrote for kcr. */
export async function cleanWorkloads(step: Step): Promise<void> {
  step.doing("taking notes off pods");
  const restored: string[] = [];
  for (const pod of await listOf(step, pods)) {
    const isFromCheckpoint = runsCheckpointImage(pod);
    if (isFromCheckpoint) restored.push(keyOf(pod));
    await cleanPod(step, pod, isFromCheckpoint);
  }
  if (restored.length > 0) {
    step.stays(
      `${count(restored.length, "pod")} with a checkpoint's image, and the note of their own: ${some(restored)}; restart their workloads`,
    );
  }
  for (const deployment of await listOf(step, deployments)) await cleanStatus(step, deployments, deployment);

  const kinds = [deployments, statefulSets, daemonSets, jobs] as Resource[];
  const annotated = (await Promise.all(kinds.map((kind) => listOf(step, kind)))).flat().filter(isAnnotated);
  if (annotated.length > 0) {
    const words = annotated.map((one) => `${one.metadata.namespace}/${one.metadata.name}`);
    step.stays(
      `annotation ${SCHEDULE_ANNOTATION} on ${count(annotated.length, "workload")}, for it is yours: ${some(words)}; without kcr it means nothing`,
    );
  }
}

const isAnnotated = ({ metadata }: KubeObject): boolean =>
  metadata.annotations?.[SCHEDULE_ANNOTATION] !== undefined;
const keyOf = ({ metadata }: Pod): string => `${metadata.namespace}/${metadata.name}`;

/** Whether a container has the image of a checkpoint, and only the pod's record knows its own. */
function runsCheckpointImage(pod: Pod): boolean {
  const records = readRecords(pod);
  return [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])].some(
    ({ name, image }) => records[name] !== undefined && records[name].originalImage !== image,
  );
}

async function cleanPod(step: Step, pod: Pod, keepRecord: boolean): Promise<void> {
  const { client, signal } = step;
  const dropped = [RECORD_ANNOTATION, RESTORE_FROM_ANNOTATION].filter(
    (key) => pod.metadata.annotations?.[key] !== undefined && !(keepRecord && key === RECORD_ANNOTATION),
  );
  if (dropped.length > 0) {
    const annotations = Object.fromEntries(dropped.map((key) => [key, null]));
    await absent(
      client.patch(pods, pod.metadata, { type: "merge", body: { metadata: { annotations } } }, { signal }),
    );
  }
  await cleanStatus(step, pods, pod);
}

interface WithConditions extends KubeObject {
  status?: { conditions?: { type: string }[] };
}

/** Takes conditions kcr.io/* out of a status. */
async function cleanStatus<T extends WithConditions>(
  step: Step,
  resource: Resource<T>,
  object: T,
): Promise<void> {
  const { client, signal } = step;
  const own = (object.status?.conditions ?? []).filter(({ type }) => isOurs(type));
  if (own.length === 0) return;
  const conditions = own.map(({ type }) => ({ $patch: "delete", type }));
  const patch = { type: "strategic", body: { status: { conditions } } } as const;
  await absent(client.patch(resource, object.metadata, patch, { subresource: "status", signal }));
}
