import type { Checkpoint } from "../api/checkpoint.ts";
import {
  DEFAULT_CONTAINER_ANNOTATION,
  FACTS_ANNOTATION,
  FETCHED_ANNOTATION,
  PRESSURE_ANNOTATION,
  RECORD_ANNOTATION,
  RESTORE_FROM_ANNOTATION,
  SELFTEST_ANNOTATION,
} from "../api/labels.ts";
import { handlerOf } from "../api/pod.ts";
import type { CheckpointRequest } from "../api/request.ts";
import type { CheckpointRestore } from "../api/restore.ts";
import type { CheckpointSchedule } from "../api/schedule.ts";
import type { Settings } from "../api/settings.ts";
import type { Cache } from "../kube/cache.ts";
import type { Client } from "../kube/client.ts";
import type { EventRecorder } from "../kube/events.ts";
import type { Logger } from "../kube/log.ts";
import type { Metrics } from "../kube/metrics.ts";
import type { Tracer } from "../kube/otlp.ts";
import type { KubeObject, Node, Pod } from "../kube/resources.ts";
import type { OperatorMetricName } from "./observe/metrics.ts";
import { podRequests, quantitiesOf } from "./webhook/requests.ts";

/** What every controller of the operator is given. */
export interface Context {
  client: Client;
  /** kcr's own namespace. */
  namespace: string;
  settings: Settings;
  recorder: EventRecorder;
  log: Logger;
  metrics?: Metrics<OperatorMetricName>;
  /** Where spans go, if they are wanted. */
  tracer?: Tracer | undefined;
  now(): Date;
  /** Aborts when this replica leads no more: nothing that goes on by itself may outlive it. */
  leading: AbortSignal;
  caches: {
    schedules: Cache<CheckpointSchedule>;
    requests: Cache<CheckpointRequest>;
    checkpoints: Cache<Checkpoint>;
    /** Its indexes hold those only that have not ended. */
    restores: Cache<CheckpointRestore>;
    pods: Cache<Pod>;
    nodes: Cache<Node>;
  };
}

export const USER_AGENT = "kcr-operator";

/** Names of the caches' indexes. */
export const BY_NAMESPACE = "namespace";
export const BY_POD_UID = "pod-uid";
export const BY_SCHEDULE = "schedule";
export const BY_NODE = "node";
export const BY_UID = "uid";
export const BY_POD = "pod";
/** Requests that no agent has been given, and those that one has, as long as they have not ended. */
export const WAITING = "waiting";
export const UNDER_WAY = "under-way";
export const READY_NODES = "ready-nodes";
export const BY_COPY = "copy";

export const byNamespace = (object: KubeObject): string[] => [object.metadata.namespace ?? ""];

/**
 * A pod as far as the operator needs it: everything else is dropped before it is kept, for the operator sees
 * every pod of the cluster.
 */
export function trimPod(pod: Pod): Pod {
  const { metadata, spec, status } = pod;
  const annotations: Record<string, string> = {};
  for (const key of [RECORD_ANNOTATION, DEFAULT_CONTAINER_ANNOTATION, RESTORE_FROM_ANNOTATION]) {
    const value = metadata.annotations?.[key];
    if (value !== undefined) annotations[key] = value;
  }
  const container = (c: NonNullable<Pod["spec"]>["containers"][number]) => ({
    name: c.name,
    image: c.image,
    imagePullPolicy: c.imagePullPolicy,
    restartPolicy: c.restartPolicy,
    // That there are some is all that counts.
    livenessProbe: c.livenessProbe && {},
    startupProbe: c.startupProbe && {},
  });
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: metadata.name,
      namespace: metadata.namespace,
      uid: metadata.uid,
      resourceVersion: metadata.resourceVersion,
      generation: metadata.generation,
      labels: metadata.labels,
      ownerReferences: metadata.ownerReferences,
      creationTimestamp: metadata.creationTimestamp,
      deletionTimestamp: metadata.deletionTimestamp,
      annotations,
    },
    spec: spec && {
      nodeName: spec.nodeName,
      restartPolicy: spec.restartPolicy,
      terminationGracePeriodSeconds: spec.terminationGracePeriodSeconds,
      runtimeClassName: spec.runtimeClassName,
      // All that it asks of its node, in one.
      resources: { requests: quantitiesOf(podRequests(spec)) },
      // What keeps a pod from the class, in the few that have it.
      hostPID: spec.hostPID,
      hostUsers: spec.hostUsers,
      shareProcessNamespace: spec.shareProcessNamespace,
      os: spec.os,
      // Of those of the class that have no node yet it matters where they may go.
      ...(spec.nodeName === undefined && handlerOf(pod) !== undefined
        ? { nodeSelector: spec.nodeSelector, affinity: spec.affinity, tolerations: spec.tolerations }
        : {}),
      imagePullSecrets: spec.imagePullSecrets,
      containers: spec.containers.map(container),
      initContainers: spec.initContainers?.filter((c) => c.restartPolicy === "Always").map(container),
    },
    status: status && {
      phase: status.phase,
      observedGeneration: status.observedGeneration,
      conditions: status.conditions?.filter((c) => c.type.startsWith("kcr.io/")),
      containerStatuses: status.containerStatuses,
      initContainerStatuses: status.initContainerStatuses,
    },
  };
}

/** A node as far as the operator needs it. */
export function trimNode(node: Node): Node {
  const annotations = Object.entries(node.metadata.annotations ?? {}).filter(
    ([key]) =>
      key === SELFTEST_ANNOTATION ||
      key === FACTS_ANNOTATION ||
      key === FETCHED_ANNOTATION ||
      key === PRESSURE_ANNOTATION,
  );
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name: node.metadata.name,
      uid: node.metadata.uid,
      resourceVersion: node.metadata.resourceVersion,
      labels: node.metadata.labels,
      annotations: Object.fromEntries(annotations),
    },
    spec: { taints: node.spec?.taints, unschedulable: node.spec?.unschedulable },
    status: {
      allocatable: node.status?.allocatable,
      nodeInfo: node.status?.nodeInfo,
      conditions: node.status?.conditions?.filter((c) => c.type === "Ready"),
    },
  };
}
