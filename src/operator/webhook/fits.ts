import { suits } from "../../api/placement.ts";
import type { Node, Pod } from "../../kube/resources.ts";
import { type Amounts, amountsOf, podRequests } from "./requests.ts";

type PodSpec = NonNullable<Pod["spec"]>;

/* The scheduler's filter NodeResourcesFit, as far as a pod itself and its node decide. */

const isOver = ({ status }: Pod): boolean => status?.phase === "Succeeded" || status?.phase === "Failed";

/** What is left of a node beside the pods that are on it. */
export function roomOn(node: Node, pods: readonly Pod[]): Amounts {
  const room = amountsOf(node.status?.allocatable);
  for (const pod of pods) if (pod.spec !== undefined && !isOver(pod)) take(room, podRequests(pod.spec));
  return room;
}

/** Takes a pod's requests, and its place among the node's pods, off what is left. */
export function take(room: Amounts, requests: Amounts): void {
  for (const name in requests) room[name] = (room[name] ?? 0) - requests[name]!;
  room["pods"] = (room["pods"] ?? 0) - 1;
}

/** Whether what is left is enough. A resource that the node does not have is enough for a request of none. */
export function isEnough(room: Amounts, requests: Amounts): boolean {
  if ((room["pods"] ?? 0) < 1) return false;
  for (const name in requests) {
    const amount = requests[name]!;
    if (amount > 0 && (room[name] ?? 0) < amount) return false;
  }
  return true;
}

/** Whether the pod can be on the node as things are: the node may have it, and has room for it. */
export const fits = (spec: PodSpec, node: Node, podsOnNode: readonly Pod[]): boolean =>
  suits(spec, node) && isEnough(roomOn(node, podsOnNode), podRequests(spec));
