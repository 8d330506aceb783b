import type { Condition } from "../../api/common.ts";
import { handlerOf } from "../../api/pod.ts";
import type { Protection } from "../../api/protection.ts";
import type { Pod } from "../../kube/resources.ts";
import { imageRestore } from "../restore/strategy.ts";
import { unsuited } from "../webhook/decide.ts";

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

type Summary = Pick<Condition, "status" | "reason" | "message">;

/** The condition of a pod: its worst container decides. Undefined: none of it is protected. */
export function podSummary(containers: ReadonlyMap<string, Strategy>): Summary | undefined {
  const all = [...containers].sort(([a], [b]) => (a < b ? -1 : 1));
  const worst = worstOf(all.map(([, strategy]) => strategy));
  if (worst === undefined) return undefined;
  const same = all.every(([, { reason, message }]) => reason === worst.reason && message === worst.message);
  const message = same
    ? `${worst.strategy}: ${worst.message}`
    : all.map(([name, s]) => `container ${name}: ${s.strategy}, ${s.message}`).join("; ");
  return { status: worst.strategy === "None" ? "False" : "True", reason: worst.reason, message };
}

/** The condition of a schedule, from the containers it protects. Undefined: there is none. */
export function scheduleSummary(containers: readonly Strategy[]): Summary | undefined {
  const worst = worstOf(containers);
  if (worst === undefined) return undefined;
  const counts = new Map<string, number>();
  for (const { strategy, reason } of containers) {
    const key = `${strategy} (${reason})`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const status = worst.strategy === "None" ? "False" : "True";
  // No number where it says nothing: it would be written anew with every pod that comes or goes.
  if (counts.size === 1) {
    return { status, reason: worst.reason, message: `${worst.strategy}: ${worst.message}` };
  }
  const message = [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([what, count]) => `${count} of ${containers.length} containers: ${what}`)
    .join("; ");
  return { status, reason: worst.reason, message };
}

function worstOf(all: readonly Strategy[]): Strategy | undefined {
  const rank = { None: 0, Image: 1, Runtime: 2 };
  return all.toSorted(
    (a, b) => rank[a.strategy] - rank[b.strategy] || (a.reason < b.reason ? -1 : a.reason > b.reason ? 1 : 0),
  )[0];
}
