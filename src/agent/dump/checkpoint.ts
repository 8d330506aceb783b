import {
  ARCHIVE_FINALIZER,
  type Checkpoint,
  type CheckpointStatus,
  IMAGE_FINALIZER,
} from "../../api/checkpoint.ts";
import type { Facts } from "../../api/facts.ts";
import { API_VERSION } from "../../api/group.ts";
import { checkpoints } from "../../api/kinds.ts";
import {
  LABEL_CONTAINER,
  LABEL_POD,
  LABEL_POD_NAMESPACE,
  LABEL_REQUEST,
  SLOT_ANNOTATION,
} from "../../api/labels.ts";
import { checkpointName, labelValue } from "../../api/names.ts";
import type { CaptureSource, CheckpointRequest } from "../../api/request.ts";
import type { CheckpointSchedule } from "../../api/schedule.ts";
import { ownerReference } from "../../kube/owner.ts";
import type { Captured } from "../inspect.ts";

/** What a Checkpoint is made from. */
export interface CheckpointParts {
  request: CheckpointRequest;
  source: CaptureSource;
  captured: Captured;
  startTime: Date;
  node: string;
  /** The schedule that the request refers to, while it exists. */
  schedule: CheckpointSchedule | undefined;
}

/** The slot's due time; of a request on demand, its creation. */
export function slotOf({ metadata }: CheckpointRequest): Date {
  const slot = new Date(metadata.annotations?.[SLOT_ANNOTATION] ?? "");
  return Number.isNaN(slot.getTime()) ? new Date(metadata.creationTimestamp ?? 0) : slot;
}

/** The Checkpoint of an archive. With `distinct` its name carries a hash of the request's UID. */
export function checkpointFor(parts: CheckpointParts, distinct = false): Checkpoint {
  const { request, source, captured, startTime, node, schedule } = parts;
  const { name: requestName, namespace = "", uid } = request.metadata;
  const pod = request.spec.podReference.name;
  const container = request.status?.containerName ?? "";
  const { checkpointScheduleRef } = request.spec;
  const name = checkpointName(
    namespace,
    { pod, container, defaultContainer: source.defaultContainer, at: slotOf(request) },
    distinct ? uid : undefined,
  );
  return {
    apiVersion: API_VERSION,
    kind: checkpoints.kind,
    metadata: {
      name,
      namespace,
      labels: {
        ...source.labels,
        [LABEL_POD]: labelValue(pod),
        [LABEL_POD_NAMESPACE]: labelValue(namespace),
        [LABEL_CONTAINER]: labelValue(container),
        [LABEL_REQUEST]: labelValue(requestName),
      },
      // Deleting the owner does not wait for the bytes: with the registry away that could be long.
      ownerReferences: [{ ...ownerReference(request), blockOwnerDeletion: false }],
      finalizers: [ARCHIVE_FINALIZER, IMAGE_FINALIZER],
    },
    spec: {
      checkpointData: captured.name,
      checkpointTimestamp: startTime.toISOString(),
      checkpointID: name,
      containerName: container,
      nodeName: node,
      ...(checkpointScheduleRef === undefined
        ? {}
        : { checkpointScheduleRef, schedule: schedule?.spec.schedule, selector: schedule?.spec.selector }),
    },
  };
}

/**
 * Its first status; `environment` is what is known of where it was taken. An archive that cannot be read says
 * nothing, and fails when its image is to be made.
 */
export function createdStatus(
  source: CaptureSource,
  captured: Captured | undefined,
  environment: Facts,
  now: Date,
): CheckpointStatus {
  return {
    phase: "Created",
    lastTransitionTime: now.toISOString(),
    lineage: source.lineage,
    checkpointImage: source.repository,
    baseImage: source.baseImage,
    baseImageDigest: source.baseImageDigest,
    specHash: source.specHash,
    sizeBytes: captured?.sizeBytes,
    frozenMicroseconds: captured?.frozenMicroseconds,
    pausedMicroseconds: captured?.pausedMicroseconds,
    copiedBytes: captured?.copiedBytes,
    engine: captured?.dumpedBy,
    handler: source.handler,
    criuOptions: source.criuOptions,
    environment,
  };
}

/** Whether an object that has the wanted name already is this very Checkpoint, made before. */
export function isSameCapture(existing: Checkpoint, { request, source }: CheckpointParts): boolean {
  return (
    isMadeFor(existing, request) &&
    existing.spec.containerName === request.status?.containerName &&
    (existing.status?.lineage?.podUID ?? source.lineage.podUID) === source.lineage.podUID
  );
}

/** By the request's UID, not its name, and in its namespace: an owner reference may name anything. */
export const isMadeFor = (checkpoint: Checkpoint, request: CheckpointRequest): boolean =>
  checkpoint.metadata.namespace === request.metadata.namespace &&
  (checkpoint.metadata.ownerReferences?.some((owner) => owner.uid === request.metadata.uid) ?? false);
