import { KcrError } from "../../api/errors.ts";
import { findContainer } from "../../api/pod.ts";
import type { Settings } from "../../api/settings.ts";
import { imageRestore } from "../../api/strategy.ts";
import type { Node, Pod } from "../../kube/resources.ts";

/** Why the schedule's strategy cannot restore on that node; undefined when it can, or may be able to. */
export function strategyObstacle(
  strategy: "Auto" | "Runtime" | "Image",
  node: Node | undefined,
): KcrError | undefined {
  if (strategy === "Runtime") {
    return new KcrError(
      "StrategyUnavailable",
      "strategy Runtime needs the runtime handler kcr on the pod's node",
    );
  }
  const version = node?.status?.nodeInfo?.containerRuntimeVersion ?? "";
  const able = imageRestore(version);
  return able.type === "no"
    ? new KcrError("StrategyUnavailable", `strategy Image is not possible with ${version}: ${able.why}`)
    : undefined;
}

/**
 * Why that container of the pod cannot be given a checkpoint image, as far as the API server's word goes: whether
 * the node can pull it is not known from that.
 */
export function imageObstacle(
  pod: Pod,
  container: string,
  strategy: "Auto" | "Runtime" | "Image",
  node: Node | undefined,
  { registry }: Settings,
): KcrError | undefined {
  if (findContainer(pod, container)?.imagePullPolicy === "Never") {
    return new KcrError(
      "ImagePullPolicyNever",
      "imagePullPolicy is Never: no checkpoint image can be given to the container",
    );
  }
  const obstacle = strategyObstacle(strategy, node);
  if (obstacle !== undefined) return obstacle;
  if (registry === undefined) {
    return new KcrError("NoRegistry", "strategy Image needs checkpoint images in a registry");
  }
  if (registry.pullSecrets.length > 0 && !pod.spec?.imagePullSecrets?.length) {
    return new KcrError("ImagePullFailed", "the registry needs pull secrets and the pod names none");
  }
  return undefined;
}
