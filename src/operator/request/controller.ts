import { setCondition } from "../../api/conditions.ts";
import { isTerminal, requests } from "../../api/kinds.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import { again, Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import { isNotFound, isStale } from "../../kube/errors.ts";
import { nodes, type ObjectName, pods } from "../../kube/resources.ts";
import { delay } from "../../kube/signals.ts";
import { absent, writeStatus } from "../../kube/write.ts";
import { type Context, UNDER_WAY, WAITING } from "../context.ts";
import { ACCEPTED, chooseAdmitted, chooseTold, type Waiting } from "./admission.ts";
import { decideRequest } from "./decide.ts";

/** How soon to look again for a node that is not ready, in milliseconds. */
const HOLD_MS = 1000;
/** Requests that are looked at, and given to their agents, at once. */
const AT_ONCE = 8;
/** For so long for each request that waits, in milliseconds, changes are gathered: each look is at all of them. */
const GATHER_MS = 0.01;
/** Namespaces whose last turn is remembered; one that is forgotten counts as one that has had none. */
const MOST_TURNS = 4096;
/** The one key of the controller that gives requests to agents. */
const ADMISSION: ObjectName = { name: "admission" };

/**
 * A new request is checked and given to the agent of its pod's node, as many at once as the limits of cluster and node
 * allow, namespace by namespace in turns, the most urgent of each first; one whose agent stays silent past the deadline is failed.
 */
export function requestControllers(context: Context): Controller[] {
  const { client, caches, recorder, log, metrics, now, settings } = context;
  /** UIDs of requests accepted by this process that are not yet seen so, with their nodes. */
  const accepted = new Map<string, string>();
  /** When requests that wait, by UID, were first held for their nodes. */
  const heldSince = new Map<string, Date>();
  /** Namespaces of requests that this process has accepted, the last one last. */
  const turns = new Set<string>();
  const tookTurn = (namespace: string): void => {
    turns.delete(namespace);
    turns.add(namespace);
    for (const longestAgo of turns) {
      if (turns.size <= MOST_TURNS) break;
      turns.delete(longestAgo);
    }
  };

  const nodeReady = (name: string): boolean =>
    caches.nodes.get(undefined, name)?.status?.conditions?.some((c) => c.status === "True") ?? false;

  /** One look at one request that has not ended; it goes to no node that is not `open` to it. */
  const look = async (
    request: CheckpointRequest,
    open: (node: string) => boolean = nodeReady,
  ): Promise<Outcome> => {
    const stamped = request.status?.nodeName;
    const pod =
      stamped !== undefined
        ? undefined
        : await client
            .get(pods, { namespace: request.metadata.namespace, name: request.spec.podReference.name })
            .catch(absent);
    const nodeExists =
      stamped === undefined ||
      caches.nodes.get(undefined, stamped) !== undefined ||
      (await client.get(nodes, { name: stamped }).catch(absent)) !== undefined;
    const time = now();
    const uid = request.metadata.uid ?? "";
    const world = { now: time, nodeExists, nodeReady: open, heldSince: heldSince.get(uid) };
    const decision = decideRequest(request, pod, world);

    switch (decision.type) {
      case "nothing":
        return done;
      case "wait":
        return again(decision.untilMs);
      case "hold":
        if (!heldSince.has(uid)) heldSince.set(uid, time);
        return again(HOLD_MS);
      case "accept":
        await writeStatus(client, requests, request, {
          phase: "Pending",
          nodeName: decision.nodeName,
          podUID: decision.podUID,
          containerName: decision.container,
          acceptedTime: time.toISOString(),
          conditions: request.status?.conditions?.filter(({ type }) => type !== ACCEPTED),
        });
        accepted.set(uid, decision.nodeName);
        tookTurn(request.metadata.namespace ?? "");
        return done;
      case "fail": {
        const { error } = decision;
        await writeStatus(client, requests, request, {
          phase: "Failed",
          completionTime: time.toISOString(),
          reason: error.code,
          message: error.advice,
          conditions: setCondition(
            request.status?.conditions,
            { type: "Ready", status: "False", reason: error.code, message: error.advice },
            time,
          ),
        });
        for (const regarding of pod === undefined ? [request] : [request, pod]) {
          recorder.record({
            regarding,
            type: "Warning",
            reason: error.code,
            action: "Checkpoint",
            note: error.advice,
          });
        }
        return done;
      }
      default:
        return decision satisfies never;
    }
  };

  const follow = async ({ namespace, name }: ObjectName): Promise<Outcome> => {
    const request = caches.requests.get(namespace, name);
    const isWithAgent =
      request !== undefined && !isTerminal(request) && request.status?.nodeName !== undefined;
    return isWithAgent ? await look(request) : done;
  };

  const admit = async (_: ObjectName, signal: AbortSignal): Promise<Outcome> => {
    await delay(caches.requests.byIndex(WAITING, WAITING).length * GATHER_MS, signal);
    const waiting = caches.requests.byIndex(WAITING, WAITING);
    const underWay = new Map<string, number>();
    const count = (node: string) => underWay.set(node, (underWay.get(node) ?? 0) + 1);
    for (const request of caches.requests.byIndex(UNDER_WAY, UNDER_WAY)) count(request.status!.nodeName!);
    const unseen = new Set(waiting.map(({ metadata }) => metadata.uid ?? ""));
    for (const [uid, node] of accepted) {
      if (unseen.has(uid)) count(node);
      else accepted.delete(uid);
    }
    for (const uid of heldSince.keys()) if (!unseen.has(uid)) heldSince.delete(uid);
    const { admitted, held } = chooseAdmitted(
      waiting.filter(({ metadata }) => !accepted.has(metadata.uid ?? "")).map(asWaiting),
      underWay,
      settings.limits,
      turns,
    );
    // A place was kept on that node and on no other; what has become of it since counts next time.
    const outcomes = await eachOf(admitted, ({ request, node, isNodeDown }) =>
      look(request, (name) => name === node && isNodeDown !== true && nodeReady(name)),
    );
    const { told, isMore } = chooseTold(held, now());
    await eachOf(told, ({ request }) => sayQueued(request));
    const isNotReady = outcomes.some(({ type }) => type === "again");
    // Whatever ends is heard of; the clock is needed only for nodes that are not ready, and for what is not yet late.
    return isNotReady || isMore ? again(HOLD_MS) : done;
  };

  const asWaiting = (request: CheckpointRequest): Waiting => {
    const { namespace } = request.metadata;
    const schedule = request.spec.checkpointScheduleRef?.name;
    const node = caches.pods.get(namespace, request.spec.podReference.name)?.spec?.nodeName;
    return {
      request,
      node,
      isNodeDown: node !== undefined && !nodeReady(node),
      savedTime:
        schedule === undefined
          ? undefined
          : caches.schedules.get(namespace, schedule)?.status?.lastSuccessfulTime,
    };
  };

  /** Says once that a request waits for its turn. */
  const sayQueued = async (request: CheckpointRequest): Promise<void> => {
    const { conditions } = request.status ?? {};
    const { perCluster, perNode } = settings.limits;
    const message = `waits for its turn: ${perNode} at once on a node and ${perCluster} in the cluster, each namespace in its turn, its oldest state first`;
    const next = setCondition(
      conditions,
      { type: ACCEPTED, status: "False", reason: "Queued", message },
      now(),
    );
    if (next === conditions) return;
    try {
      await writeStatus(client, requests, request, { phase: "Pending", conditions: next });
    } catch (error) {
      // It has changed, or is gone: its change leads here again.
      if (!isStale(error) && !isNotFound(error)) throw error;
    }
  };

  /** The requests that the agent of a node has; of one that is gone nobody ends them. */
  const givenTo = (node: string): ObjectName[] =>
    caches.requests
      .byIndex(UNDER_WAY, UNDER_WAY)
      .filter(({ status }) => status?.nodeName === node)
      .map(({ metadata }) => metadata);

  return [
    new Controller({
      name: "request",
      log,
      metrics,
      workers: 2,
      reconcile: follow,
      sources: [
        changesOf(caches.requests),
        changesOf(caches.nodes, ({ metadata: { name } }) =>
          caches.nodes.get(undefined, name) !== undefined ? [] : givenTo(name),
        ),
      ],
    }),
    // One worker and one key: the limits are kept by whoever sees all requests at once.
    new Controller({
      name: "admission",
      log,
      metrics,
      workers: 1,
      reconcile: admit,
      sources: [changesOf(caches.requests, () => [ADMISSION]), changesOf(caches.nodes, () => [ADMISSION])],
    }),
  ];
}

/** Does something with each, some at once. Errors: the first one, after all have been tried. */
async function eachOf<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const errors: unknown[] = [];
  const left = items.values();
  const worker = async () => {
    for (const item of left)
      await work(item).then(
        (result) => results.push(result),
        (error) => errors.push(error),
      );
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, items.length) }, worker));
  if (errors.length > 0) throw errors[0];
  return results;
}
