import { RUNTIME_HANDLER } from "../../api/checkpoint.ts";
import { suits } from "../../api/placement.ts";
import { hasHandlerReady } from "../../api/selftest.ts";
import type { Node, Pod, RuntimeClass } from "../../kube/resources.ts";
import { isEnough, roomOn, take } from "./fits.ts";
import { type Amounts, podRequests } from "./requests.ts";

type PodSpec = NonNullable<Pod["spec"]>;

/** A pod of the class that is on no node yet, though it is about to take room on one. */
export interface Waiting {
  spec: PodSpec;
}

export interface Nodes {
  all: readonly Node[];
  podsOn(node: string): readonly Pod[];
  /** Pods that have, or were promised, the class, and have no node yet. */
  waiting: readonly Waiting[];
}

export type ClassDecision =
  /** The pod gets the class. */
  | { type: "class" }
  /** The pod stays as it is. */
  | { type: "leave"; why: string };

const leave = (why: string): ClassDecision => ({ type: "leave", why });

/**
 * Whether a protected pod gets class kcr, which then schedules it to nodes whose handler is ready alone.
 *
 * Guarantees: never for a pod that could run now without the class and could not with it, as far as its own fields,
 * the nodes and their pods tell. What depends on where other things are (topology, volumes, ports) is not worked out:
 * such a pod gets the class only where the class leaves it no node fewer.
 */
export function decideClass(
  pod: Pod & { spec: PodSpec },
  runtimeClass: RuntimeClass | undefined,
  nodes: Nodes,
): ClassDecision {
  if (runtimeClass?.handler !== RUNTIME_HANDLER) return leave(`there is no RuntimeClass ${RUNTIME_HANDLER}`);
  const { nodeSelector = {}, tolerations = [] } = runtimeClass.scheduling ?? {};
  const conflict = Object.entries(nodeSelector).find(
    ([key, value]) => (pod.spec.nodeSelector?.[key] ?? value) !== value,
  );
  if (conflict !== undefined) return leave(`its nodeSelector asks for another ${conflict[0]}`);

  const without = nodes.all.filter((node) => suits(pod.spec, node));
  const spec: PodSpec = {
    ...pod.spec,
    overhead: runtimeClass.overhead?.podFixed,
    nodeSelector: { ...pod.spec.nodeSelector, ...nodeSelector },
    tolerations: [...(pod.spec.tolerations ?? []), ...tolerations],
  };
  const ready = new Set(nodes.all.filter((node) => hasHandlerReady(node) && suits(spec, node)));
  if (ready.size === 0) return leave("no node that it may be on has the handler ready");
  const bound = boundTo(spec);
  if (bound !== undefined && without.some((node) => !ready.has(node))) {
    return leave(`${bound}, and not all nodes that it may be on have the handler ready`);
  }
  return hasRoom(spec, [...ready], nodes)
    ? { type: "class" }
    : leave("no node that has the handler ready has room for it");
}

/** What besides the node itself decides where the pod can be. */
function boundTo({
  affinity,
  topologySpreadConstraints,
  volumes,
  containers,
  resourceClaims,
}: PodSpec): string | undefined {
  if (affinity?.podAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.length)
    return "it has a pod affinity";
  if (affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.length)
    return "it has a pod anti-affinity";
  if (topologySpreadConstraints?.some((c) => c.whenUnsatisfiable === "DoNotSchedule"))
    return "it has a topology spread constraint";
  if (volumes?.some((v) => v.persistentVolumeClaim !== undefined || v.ephemeral !== undefined))
    return "it has a persistent volume";
  if (containers.some((c) => c.ports?.some((port) => port.hostPort))) return "it has a port of its host";
  if (resourceClaims?.length) return "it claims devices";
  return undefined;
}

/** Whether there is room once those that wait have taken theirs, each on the first node that has it. */
function hasRoom(spec: PodSpec, ready: readonly Node[], { all, podsOn, waiting }: Nodes): boolean {
  const rooms = new Map<string, Amounts>();
  const room = (node: Node): Amounts => {
    const { name } = node.metadata;
    const known = rooms.get(name);
    if (known !== undefined) return known;
    const fresh = roomOn(node, podsOn(name));
    rooms.set(name, fresh);
    return fresh;
  };
  const handlers = waiting.length === 0 ? [] : all.filter(hasHandlerReady);
  for (const pod of waiting) {
    const requests = podRequests(pod.spec);
    const place = handlers.find((node) => isEnough(room(node), requests) && suits(pod.spec, node));
    if (place !== undefined) take(room(place), requests);
  }
  const requests = podRequests(spec);
  return ready.some((node) => isEnough(room(node), requests));
}
