import { KcrError } from "../../api/errors.ts";
import { findContainer } from "../../api/pod.ts";
import type { Settings } from "../../api/settings.ts";
import type { Node, Pod } from "../../kube/resources.ts";

/** What a node's runtime can do with a checkpoint image. */
export type ImageRestore =
  | { type: "yes" }
  /** Its version can, its configuration decides. */
  | { type: "if-configured"; setting: string }
  | { type: "no"; why: string };

/**
 * Whether a runtime restores a checkpoint from an image, by `node.status.nodeInfo.containerRuntimeVersion`
 * (`containerd://2.3.7`). Source: containerd's release notes of 2.1, 2.2.7, 2.3.4 and 2.4; CRI-O's of 2026.
 */
export function imageRestore(runtimeVersion: string): ImageRestore {
  const match = /^([a-z-]+):\/\/v?(\d+)\.(\d+)\.(\d+)/.exec(runtimeVersion);
  if (match === null) return { type: "no", why: `runtime "${runtimeVersion}" is not known` };
  const [, name, ...numbers] = match;
  const [major = 0, minor = 0, patch = 0] = numbers.map(Number);
  if (name === "cri-o")
    return { type: "if-configured", setting: "[crio.checkpoint_restore] container_level_enabled" };
  if (name !== "containerd") return { type: "no", why: `runtime ${name} is not known to restore` };
  if (major < 2 || (major === 2 && minor === 0))
    return { type: "no", why: "containerd restores from 2.1 on" };
  if (major > 2 || minor >= 4)
    return { type: "no", why: "containerd 2.4 and later no longer restore from an image" };
  const gated = (minor === 2 && patch >= 7) || (minor === 3 && patch >= 4);
  return gated
    ? { type: "if-configured", setting: "enable_experimental_restore_via_create = true" }
    : { type: "yes" };
}

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
