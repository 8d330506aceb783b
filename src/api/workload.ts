import { controllerOf } from "../kube/owner.ts";
import type { Pod } from "../kube/resources.ts";
import { labelValue, scheduleName } from "./names.ts";

const POD_TEMPLATE_HASH = "pod-template-hash";

/** The workload that a pod belongs to, as far as the pod tells. */
export interface PodWorkload {
  kind: string;
  name: string;
}

/**
 * Of a ReplicaSet's pod its Deployment (the name less the hash of the pod template), of other controllers' pods the
 * controller, of a bare pod the pod itself.
 */
export function podWorkload(pod: Pod): PodWorkload {
  const controller = controllerOf(pod);
  switch (controller?.kind) {
    case "ReplicaSet": {
      const hash = pod.metadata.labels?.[POD_TEMPLATE_HASH];
      const suffix = `-${hash}`;
      const { name } = controller;
      return hash && name.endsWith(suffix) && name.length > suffix.length
        ? { kind: "Deployment", name: name.slice(0, -suffix.length) }
        : { kind: "ReplicaSet", name };
    }
    case "StatefulSet":
    case "DaemonSet":
    case "Job":
      return { kind: controller.kind, name: controller.name };
    default:
      return { kind: "Pod", name: pod.metadata.name };
  }
}

/** The same as a label has it: the name that a schedule of the workload has. */
export function workloadOfPod(pod: Pod): string {
  const { kind, name } = podWorkload(pod);
  return labelValue(scheduleName(name, kind));
}
