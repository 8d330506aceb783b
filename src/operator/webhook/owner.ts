import { SCHEDULE_ANNOTATION } from "../../api/labels.ts";
import { containersOf } from "../../api/pod.ts";
import { protectionOf } from "../../api/protection.ts";
import type { CheckpointSchedule } from "../../api/schedule.ts";
import type { Client } from "../../kube/client.ts";
import { controllerOf } from "../../kube/owner.ts";
import {
  apiVersionOf,
  daemonSets,
  deployments,
  jobs,
  type KubeObject,
  type OwnerReference,
  type Pod,
  type Resource,
  replicaSets,
  statefulSets,
} from "../../kube/resources.ts";
import { absent } from "../../kube/write.ts";

/** What makes pods, and what is made by something else again. */
const WORKLOADS: readonly Resource[] = [deployments, statefulSets, daemonSets, jobs];
const MAKERS: readonly Resource[] = [replicaSets, ...WORKLOADS];

const resourceOf = ({ apiVersion, kind }: OwnerReference): Resource | undefined =>
  MAKERS.find((resource) => resource.kind === kind && apiVersionOf(resource) === apiVersion);

/**
 * The workload that a pod is of, as the API server has it now: a Deployment's first pod is made milliseconds after it,
 * before any cache knows of it. At most two reads. Undefined: none, or of another kind.
 */
export async function workloadOf(
  client: Client,
  namespace: string,
  pod: KubeObject,
  signal: AbortSignal,
): Promise<KubeObject | undefined> {
  let object = pod;
  for (let depth = 0; depth < 2; depth++) {
    const owner = controllerOf(object);
    const resource = owner && resourceOf(owner);
    if (owner === undefined || resource === undefined) return undefined;
    const found = await client.get(resource, { namespace, name: owner.name }, { signal }).catch(absent);
    if (found === undefined || found.metadata.uid !== owner.uid) return undefined;
    if (WORKLOADS.includes(resource)) return found;
    object = found;
  }
  return undefined;
}

/**
 * Whether a new pod is to be restored by the handler: a schedule says so, or its workload is annotated and has no
 * schedule yet that could say otherwise.
 *
 * @param schedules those of the pod's namespace
 * @param workload asked only where no schedule says so
 */
export async function wantsHandler(
  pod: Pod,
  schedules: readonly CheckpointSchedule[],
  workload: () => Promise<KubeObject | undefined>,
): Promise<boolean> {
  const protection = protectionOf(pod, schedules);
  if (containersOf(pod).some(({ name }) => (protection.get(name)?.strategy ?? "Image") !== "Image"))
    return true;
  const owner = await workload();
  if (owner?.metadata.annotations?.[SCHEDULE_ANNOTATION] === undefined) return false;
  return !schedules.some((schedule) => controllerOf(schedule)?.uid === owner.metadata.uid);
}
