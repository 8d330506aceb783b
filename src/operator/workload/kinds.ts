import type { LabelSelector } from "../../api/common.ts";
import { KEEP_LAST_ANNOTATION, MAX_AGE_ANNOTATION, SCHEDULE_ANNOTATION } from "../../api/labels.ts";
import {
  daemonSets,
  deployments,
  jobs,
  type KubeObject,
  type Resource,
  statefulSets,
} from "../../kube/resources.ts";

/** A workload as its list and watch give it. */
export interface WorkloadObject extends KubeObject {
  spec?: { selector?: LabelSelector };
  status?: { conditions?: { type: string; status: string; message?: string }[] };
}

/** The kinds of workload that the annotation protects. */
export const workloadKinds = [deployments, statefulSets, daemonSets, jobs] as Resource<WorkloadObject>[];

/** Annotations that go over to its schedule. */
export const RETENTION_ANNOTATIONS = [KEEP_LAST_ANNOTATION, MAX_AGE_ANNOTATION] as const;

/** What is kept of a workload: its identity, its annotations, its selector and our condition. */
export function trimWorkload(object: WorkloadObject): WorkloadObject {
  const { metadata } = object;
  const value = metadata.annotations?.[SCHEDULE_ANNOTATION];
  return {
    apiVersion: object.apiVersion,
    kind: object.kind,
    metadata: {
      name: metadata.name,
      namespace: metadata.namespace,
      uid: metadata.uid,
      resourceVersion: metadata.resourceVersion,
      deletionTimestamp: metadata.deletionTimestamp,
      ...(value === undefined
        ? {}
        : { annotations: { [SCHEDULE_ANNOTATION]: value, ...retentionAnnotations(metadata) } }),
    },
    spec: value === undefined ? {} : { selector: object.spec?.selector },
    status: { conditions: object.status?.conditions?.filter((c) => c.type.startsWith("kcr.io/")) },
  };
}

/** What a workload, or a schedule, has of {@link RETENTION_ANNOTATIONS}. */
export function retentionAnnotations({ annotations = {} }: KubeObject["metadata"]): Record<string, string> {
  const own = RETENTION_ANNOTATIONS.filter((key) => annotations[key] !== undefined);
  return Object.fromEntries(own.map((key) => [key, annotations[key]!]));
}
