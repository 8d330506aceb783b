import { API_VERSION } from "../../api/group.ts";
import { requests } from "../../api/kinds.ts";
import {
  APP_VALUE,
  LABEL_APP,
  LABEL_POD,
  LABEL_POD_NAMESPACE,
  LABEL_SCHEDULE,
  SLOT_ANNOTATION,
  TRACEPARENT_ANNOTATION,
} from "../../api/labels.ts";
import { labelValue, requestName } from "../../api/names.ts";
import { defaultContainer } from "../../api/pod.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import type { CheckpointSchedule } from "../../api/schedule.ts";
import { slotTraceparent } from "../../api/trace.ts";
import type { Client } from "../../kube/client.ts";
import { isAlreadyExists } from "../../kube/errors.ts";
import { controllerOf, ownerReference } from "../../kube/owner.ts";
import { absent } from "../../kube/write.ts";
import type { Target } from "./targets.ts";

/** The request for one container at one slot. Its name is the same however often it is made. */
function requestFor(
  schedule: CheckpointSchedule,
  { pod, container }: Target,
  at: Date,
  { distinctFor, isTraced }: { distinctFor: string | undefined; isTraced: boolean },
): CheckpointRequest {
  const { name, namespace = "", uid } = schedule.metadata;
  const captured = {
    pod: pod.metadata.name,
    container,
    defaultContainer: defaultContainer(pod) ?? container,
    at,
  };
  const ownName = requestName(name, captured, distinctFor);
  return {
    apiVersion: API_VERSION,
    kind: requests.kind,
    metadata: {
      name: ownName,
      namespace,
      labels: {
        [LABEL_APP]: APP_VALUE,
        [LABEL_POD]: labelValue(pod.metadata.name),
        [LABEL_POD_NAMESPACE]: namespace,
        [LABEL_SCHEDULE]: labelValue(name),
      },
      annotations: {
        [SLOT_ANNOTATION]: at.toISOString(),
        ...(isTraced ? { [TRACEPARENT_ANNOTATION]: slotTraceparent(uid ?? "", ownName) } : {}),
      },
      ownerReferences: [ownerReference(schedule, true)],
    },
    spec: {
      podReference: { name: pod.metadata.name, namespace },
      containerName: container,
      checkpointScheduleRef: { apiVersion: API_VERSION, kind: schedule.kind, name, namespace, uid },
      ...(schedule.spec.timeoutSeconds === undefined ? {} : { timeoutSeconds: schedule.spec.timeoutSeconds }),
    },
  };
}

/**
 * Creates the request of a slot. One that exists is the same one only if this very schedule owns it and it
 * asks for the same container; a foreign object of that name is stepped around.
 */
export async function ensureRequest(
  client: Client,
  schedule: CheckpointSchedule,
  target: Target,
  at: Date,
  isTraced = false,
): Promise<void> {
  for (const distinctFor of [
    undefined,
    `${schedule.metadata.uid}/${target.pod.metadata.uid}/${target.container}`,
  ]) {
    const wanted = requestFor(schedule, target, at, { distinctFor, isTraced });
    try {
      await client.create(requests, wanted);
      return;
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
    }
    const existing = await client.get(requests, wanted.metadata).catch(absent);
    // Made, and deleted since: another in its place would capture the slot again.
    if (existing === undefined) return;
    if (
      controllerOf(existing)?.uid === schedule.metadata.uid &&
      existing.spec.podReference.name === wanted.spec.podReference.name &&
      existing.spec.containerName === wanted.spec.containerName
    ) {
      return;
    }
  }
  throw new Error(`both names of the request for ${target.pod.metadata.name}/${target.container} are taken`);
}
