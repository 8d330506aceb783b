import type { Pod } from "../kube/resources.ts";
import { handlerOf } from "./pod.ts";
import type { Protection } from "./protection.ts";

/** Why a container is restored the way it is, or not at all. */
export type StrategyReason =
  /** The pod is of class kcr. */
  | "HandlerClass"
  /** Its node's runtime restores from images. */
  | "ImageRestore"
  /** The same, if it is configured to. */
  | "ImageIfConfigured"
  /** A pod made from now on can be of class kcr. */
  | "RuntimeFromNextPod"
  /** The pod has a class of its own. */
  | "OwnRuntimeClass"
  /** No pod of that spec can be of class kcr. */
  | "PodUnsuited"
  | "NoHandlerNode"
  | "NoImageRestore"
  | "NoRegistry";

export interface Strategy {
  strategy: "Runtime" | "Image" | "None";
  reason: StrategyReason;
  message: string;
}

export interface Surroundings {
  /** `node.status.nodeInfo.containerRuntimeVersion` of the pod's node; empty while it is not known. */
  runtimeVersion: string;
  /** Whether Checkpoints have images at all. */
  images: boolean;
  /** Whether any node has the handler ready. */
  handlerNodes: boolean;
}

/**
 * How a container of the pod would be restored now. A pod's class is for its life, so that Auto means: the handler in
 * a pod of class kcr, else the image where the node can, else nothing, with the way that leads out of it.
 */
export function strategyOf(pod: Pod, wanted: Protection["strategy"], around: Surroundings): Strategy {
  if (handlerOf(pod) !== undefined) {
    return { strategy: "Runtime", reason: "HandlerClass", message: "its node's runtime handler restores it" };
  }
  const image = imageStrategy(around);
  if (wanted === "Image" || (wanted === "Auto" && image.strategy === "Image")) return image;
  const none = noHandler(pod, around);
  return wanted === "Auto" ? { ...none, message: `${none.message}; ${image.message}` } : none;
}

function imageStrategy({ images, runtimeVersion }: Surroundings): Strategy {
  if (!images) {
    return {
      strategy: "None",
      reason: "NoRegistry",
      message: "Checkpoints have no images: no registry is used",
    };
  }
  const able = imageRestore(runtimeVersion);
  switch (able.type) {
    case "yes":
      return { strategy: "Image", reason: "ImageRestore", message: "it is given a checkpoint image" };
    case "if-configured":
      return {
        strategy: "Image",
        reason: "ImageIfConfigured",
        message: `it is given a checkpoint image, which its node restores if configured so (${able.setting})`,
      };
    case "no":
      return {
        strategy: "None",
        reason: "NoImageRestore",
        message: `its node restores no image: ${able.why}`,
      };
    default:
      return able satisfies never;
  }
}

function noHandler(pod: Pod, { handlerNodes }: Surroundings): Strategy {
  const own = pod.spec?.runtimeClassName;
  const why = unsuited(pod);
  if (own) return none("OwnRuntimeClass", `the pod is of RuntimeClass ${own}, which is not kcr's`);
  if (why !== undefined) return none("PodUnsuited", `the runtime handler cannot restore it: ${why}`);
  if (!handlerNodes) return none("NoHandlerNode", "no node has the runtime handler ready");
  return none(
    "RuntimeFromNextPod",
    "the pod was made without RuntimeClass kcr; the next one of its workload can have it",
  );
}

const none = (reason: StrategyReason, message: string): Strategy => ({ strategy: "None", reason, message });

/** Why a pod cannot be of the class whatever protects it, from its spec alone; undefined when it can. */
export function unsuited(pod: Pod): string | undefined {
  const { metadata, spec } = pod;
  if (spec === undefined) return "it has no spec";
  if (spec.runtimeClassName) return `it is of class ${spec.runtimeClassName}`;
  if (metadata.annotations?.["kubernetes.io/config.mirror"] !== undefined) return "it is a static pod";
  if (spec.os?.name !== undefined && spec.os.name !== "linux") return `it runs on ${spec.os.name}`;
  if (spec.hostPID === true) return "hostPID: its processes are among its host's";
  if (spec.shareProcessNamespace === true)
    return "shareProcessNamespace: its processes are among other containers'";
  if (spec.hostUsers === false) return "hostUsers is false: its user namespace cannot be restored";
  return undefined;
}

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
