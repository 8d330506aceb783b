import type { LabelSelector } from "../../api/common.ts";
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

/** What is kept of a workload: its identity, its annotation, its selector and our condition. */
export function trimWorkload(object: WorkloadObject, annotation: string): WorkloadObject {
  const { metadata } = object;
  const value = metadata.annotations?.[annotation];
  return {
    apiVersion: object.apiVersion,
    kind: object.kind,
    metadata: {
      name: metadata.name,
      namespace: metadata.namespace,
      uid: metadata.uid,
      resourceVersion: metadata.resourceVersion,
      deletionTimestamp: metadata.deletionTimestamp,
      ...(value === undefined ? {} : { annotations: { [annotation]: value } }),
    },
    spec: value === undefined ? {} : { selector: object.spec?.selector },
    status: { conditions: object.status?.conditions?.filter((c) => c.type.startsWith("kcr.io/")) },
  };
}
