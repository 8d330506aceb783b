import { controllerOf } from "../kube/owner.ts";
import type { Pod } from "../kube/resources.ts";

const POD_TEMPLATE_HASH = "pod-template-hash";

/**
 * Name of the workload that a pod belongs to: of a ReplicaSet's pod that of its Deployment (the name less the
 * hash of the pod template), of other controllers' pods the controller's, of a bare pod its own.
 */
export function workloadName(pod: Pod): string {
  const controller = controllerOf(pod);
  switch (controller?.kind) {
    case "ReplicaSet": {
      const hash = pod.metadata.labels?.[POD_TEMPLATE_HASH];
      const suffix = `-${hash}`;
      const { name } = controller;
      return hash && name.endsWith(suffix) && name.length > suffix.length
        ? name.slice(0, -suffix.length)
        : name;
    }
    case "StatefulSet":
    case "DaemonSet":
    case "Job":
      return controller.name;
    default:
      return pod.metadata.name;
  }
}
