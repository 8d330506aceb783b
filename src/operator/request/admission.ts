import { findCondition } from "../../api/conditions.ts";
import { isTerminal } from "../../api/kinds.ts";
import type { CheckpointRequest } from "../../api/request.ts";

/** Condition of a request: False while it waits for its turn. */
export const ACCEPTED = "Accepted";

/** One that is being deleted is nobody's to take up, however long others keep it: it holds no place. */
const isOpen = (request: CheckpointRequest): boolean =>
  !isTerminal(request) && request.metadata.deletionTimestamp === undefined;

/** Whether no agent has been given the request yet. */
export const isWaiting = (request: CheckpointRequest): boolean =>
  isOpen(request) && request.status?.nodeName === undefined;

/** Whether an agent has it, and has not ended it. */
export const isUnderWay = (request: CheckpointRequest): boolean =>
  isOpen(request) && request.status?.nodeName !== undefined;

/** A request that no agent has been given yet. */
export interface Waiting {
  request: CheckpointRequest;
  /** The node of its pod, where that is known. */
  node?: string;
  /** Nobody there would take it: of such as many are looked at as there is room for on the node, for those end too. */
  isNodeDown?: boolean;
  /** When the newest good checkpoint of its schedule was taken; absent: there is none. */
  savedTime?: string;
}

/** How many dumps may be under way at once. */
export interface Limits {
  perCluster: number;
  perNode: number;
}

export interface Chosen {
  /** Those to be looked at now, in their turns. */
  admitted: Waiting[];
  /** Those that have to wait for others to end. */
  held: Waiting[];
}

/**
 * Which of the waiting requests go to their agents now, given how many are under way on each node, and the namespaces
 * that have had turns: the last turn last.
 *
 * Guarantees: neither limit is passed; a node that is busy, or down, keeps no other one waiting. Namespaces take turns:
 * first those that have had none, by their most urgent request, then the one whose turn is longest ago; so none keeps
 * another one waiting by what it asks for, however much that is. Within a namespace those that people asked for come
 * first, then the workload whose state is oldest. One whose node is not known takes part in the cluster's limit only:
 * the look at its pod says what becomes of it.
 */
export function chooseAdmitted(
  waiting: readonly Waiting[],
  underWay: ReadonlyMap<string, number>,
  limits: Limits,
  turns: Iterable<string> = [],
): Chosen {
  const perNode = new Map(underWay);
  let free = limits.perCluster - [...underWay.values()].reduce((sum, count) => sum + count, 0);
  // Where there is no place nobody's turn matters.
  if (free <= 0) return { admitted: [], held: [...waiting] };
  const chosen: Chosen = { admitted: [], held: [] };
  /** Whether it takes a place of the cluster's. */
  const admit = (one: Waiting): boolean => {
    const onNode = one.node === undefined ? 0 : (perNode.get(one.node) ?? 0);
    if (free <= 0 || onNode >= limits.perNode) {
      chosen.held.push(one);
      return false;
    }
    if (one.node !== undefined) perNode.set(one.node, onNode + 1);
    chosen.admitted.push(one);
    if (one.isNodeDown === true) return false;
    free -= 1;
    return true;
  };
  let queues = inTurn(waiting, turns).map((all) => all.values());
  // A turn lasts until one takes a place, or the namespace has none that could.
  while (queues.length > 0) queues = queues.filter((queue) => takeFirst(queue, admit));
  return chosen;
}

/** Whether there was one in the queue that `take` took; takes off it all up to that one. */
function takeFirst<T>(queue: Iterator<T, undefined>, take: (one: T) => boolean): boolean {
  for (let next = queue.next(); next.done !== true; next = queue.next()) if (take(next.value)) return true;
  return false;
}

/** Each namespace's requests, the most urgent first, in the order in which the namespaces have their turns. */
function inTurn(waiting: readonly Waiting[], turns: Iterable<string>): Waiting[][] {
  const last = new Map([...turns].map((namespace, turn) => [namespace, turn]));
  const turnOf = (namespace: string): number => last.get(namespace) ?? -1;
  // The namespaces are met in the order of their most urgent ones, and the sort leaves equals in it.
  const queues = Map.groupBy(waiting.toSorted(byUrgency), namespaceOf);
  return [...queues].sort(([a], [b]) => turnOf(a) - turnOf(b)).map(([, all]) => all);
}

const namespaceOf = ({ request }: Waiting): string => request.metadata.namespace ?? "";

/** A request that waits longer than this for others to end says so, in milliseconds. */
const QUEUED_AFTER_MS = 5000;
/** So many at once are to say so: meanwhile nobody looks who may go. */
const MOST_TOLD = 64;

/** Which of those held are to say now that they wait, and whether there will be more of them by the clock alone. */
export function chooseTold(held: readonly Waiting[], now: Date): { told: Waiting[]; isMore: boolean } {
  const told: Waiting[] = [];
  let isMore = false;
  for (const one of held) {
    const { metadata, status } = one.request;
    if (findCondition(status?.conditions, ACCEPTED)?.status === "False") continue;
    const isLate = now.getTime() - Date.parse(metadata.creationTimestamp ?? "") > QUEUED_AFTER_MS;
    if (isLate && told.length < MOST_TOLD) told.push(one);
    else isMore = true;
  }
  return { told, isMore };
}

function byUrgency(a: Waiting, b: Waiting): number {
  const people = Number(isScheduled(a)) - Number(isScheduled(b));
  if (people !== 0) return people;
  return (
    compare(a.savedTime ?? "", b.savedTime ?? "") ||
    compare(a.request.metadata.creationTimestamp ?? "", b.request.metadata.creationTimestamp ?? "") ||
    compare(a.request.metadata.name, b.request.metadata.name)
  );
}

const isScheduled = ({ request }: Waiting): boolean => request.spec.checkpointScheduleRef !== undefined;

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
