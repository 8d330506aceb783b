import { isDeepStrictEqual } from "node:util";
import { LINEAGE_LOST } from "../../api/checkpoint.ts";
import { setCondition } from "../../api/conditions.ts";
import type { CheckpointDownload } from "../../api/download.ts";
import { checkpoints, clusterRetentions, isTerminal, requests, retentions } from "../../api/kinds.ts";
import { PRESSURE_ANNOTATION } from "../../api/labels.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import type {
  CheckpointRetention,
  ClusterCheckpointRetention,
  RetentionStatus,
} from "../../api/retention.ts";
import { Cache } from "../../kube/cache.ts";
import type { Client } from "../../kube/client.ts";
import { again, Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import { isConflict, isNotFound } from "../../kube/errors.ts";
import type { Logger } from "../../kube/log.ts";
import type { Metrics } from "../../kube/metrics.ts";
import {
  type KubeObject,
  type Namespace,
  namespaces,
  type ObjectName,
  type Resource,
} from "../../kube/resources.ts";
import { absent, updateStatus, writeStatus } from "../../kube/write.ts";
import type { Removal, RetentionPlan } from "../../retention/decide.ts";
import type { Mark } from "../../retention/facts.ts";
import { type Picture, readPicture } from "../../retention/gather.ts";
import { BY_NAMESPACE, type Context } from "../context.ts";
import { isClockDoubtful, type Plans, plansOf } from "./plans.ts";
import { Pace, Rate } from "./rate.ts";
import { finishedRequests } from "./requests.ts";
import { statusOf } from "./status.ts";

/** What is said, and where; all replicas of the operator keep it. */
export interface RetentionCaches {
  retentions: Cache<CheckpointRetention>;
  clusterRetentions: Cache<ClusterCheckpointRetention>;
  namespaces: Cache<Namespace>;
}

export function retentionCaches(common: { client: Client; log: Logger; metrics: Metrics }): RetentionCaches {
  return {
    retentions: new Cache({ ...common, resource: retentions, indexes: { [BY_NAMESPACE]: inNamespace } }),
    clusterRetentions: new Cache({ ...common, resource: clusterRetentions }),
    namespaces: new Cache({
      ...common,
      resource: namespaces,
      transform: ({ apiVersion, kind, metadata }) => ({ apiVersion, kind, metadata }) as Namespace,
    }),
  };
}

const inNamespace = ({ metadata }: KubeObject): string[] => [metadata.namespace ?? ""];

/** A namespace is not looked at sooner again, in milliseconds: every step of every checkpoint is a change. */
const GAP_MS = 2_000;
/** So many lost states are written down in one go. */
const MARKS_AT_ONCE = 200;
/** How soon everything of a namespace is looked at again, whatever was heard of, in milliseconds. */
const RESYNC_MS = 60_000;

/**
 * Removes the Checkpoints that no policy keeps, and requests that nobody needs. Its keys are namespaces.
 *
 * Flow: what the caches hold -> plan (src/retention) -> if something is to go, everything that decided is read anew
 * from the API server and planned again -> what both plans name is deleted, the object's finalizers see to the bytes ->
 * status of the policies, which also tells what would go.
 * Guarantees: nothing is deleted on a picture that is not whole or not of now: an error of the API server ends the
 * round before the first deletion. What changed since it was read is left for the next round (preconditions). Killed
 * at any point, the next leader plans anew.
 */
export function retentionControllers(
  context: Context,
  own: RetentionCaches & { downloads: Cache<CheckpointDownload> },
): Controller[] {
  const { client, caches, recorder, log, metrics, now, settings } = context;
  const { defaults: builtIn, perMinute } = settings.retention;
  const rate = new Rate(perMinute, now);
  const pace = new Pace(GAP_MS);
  /** What is shown, dry runs included. */
  const plans = new Map<string, RetentionPlan>();

  const reconcile = async ({ name: namespace }: ObjectName, signal: AbortSignal): Promise<Outcome> => {
    const waitMs = pace.waitMs(namespace);
    if (waitMs > 0) return again(waitMs);
    const since = performance.now();
    pace.rest(namespace, since);
    const picture = cached(namespace);
    const isOver = own.namespaces.get(undefined, namespace)?.metadata.deletionTimestamp !== undefined;
    if (
      isOver ||
      (picture.checkpoints.length === 0 && picture.requests.length === 0 && picture.retentions.length === 0)
    ) {
      plans.delete(namespace);
      pace.forget(namespace);
      return done;
    }
    const { meant: plan, shown } = planned(picture);
    plans.set(namespace, shown);
    const isDoubtful = isClockDoubtful(caches.nodes.list(), picture.now);
    if (isDoubtful) log.warn({ namespace }, "nothing was heard of any node for an hour: no checkpoint goes");
    let wasAll = true;
    try {
      if (!isDoubtful) {
        for (const mark of plan.marks.slice(0, MARKS_AT_ONCE)) await write(mark);
        await letGo(picture);
        wasAll = await carryOut(namespace, picture, plan, signal);
      }
      for (const policy of picture.retentions) {
        await tell(retentions, policy, statusOf(policy, new Map([[namespace, shown]]), now()));
      }
    } finally {
      pace.rest(namespace, since, wasAll ? 0 : rate.fullMs);
    }
    const leastMs = pace.waitMs(namespace);
    if (!wasAll || plan.marks.length > MARKS_AT_ONCE) return again(leastMs);
    const untilNext = (plan.nextChange?.getTime() ?? Number.POSITIVE_INFINITY) - now().getTime();
    return again(Math.max(leastMs, Math.min(RESYNC_MS, untilNext)));
  };

  /** Whether all of it was done. */
  const carryOut = async (
    namespace: string,
    picture: Picture,
    plan: RetentionPlan,
    signal: AbortSignal,
  ): Promise<boolean> => {
    const trimmed = finishedRequests(picture.requests, picture.checkpoints, now());
    if (plan.removals.length === 0 && trimmed.length === 0) return true;
    const fresh = await readPicture(client, namespace, { now: now(), signal });
    const wasAll = await remove(plan.removals, planned(fresh).meant.removals);
    await trim(trimmed, finishedRequests(fresh.requests, fresh.checkpoints, now()));
    return wasAll;
  };

  const cached = (namespace: string): Picture => ({
    namespaceLabels: own.namespaces.get(undefined, namespace)?.metadata.labels,
    clusterRetentions: own.clusterRetentions.list(),
    retentions: own.retentions.byIndex(BY_NAMESPACE, namespace),
    schedules: caches.schedules.byIndex(BY_NAMESPACE, namespace),
    checkpoints: caches.checkpoints.byIndex(BY_NAMESPACE, namespace),
    requests: caches.requests.byIndex(BY_NAMESPACE, namespace),
    pods: caches.pods.byIndex(BY_NAMESPACE, namespace),
    restores: caches.restores.byIndex(BY_NAMESPACE, namespace),
    downloads: own.downloads.list(namespace),
    now: now(),
  });

  const planned = (picture: Picture): Plans => plansOf(picture, { builtIn, pressed: pressedNodes() });

  const pressedNodes = (): Set<string> =>
    new Set(
      caches.nodes
        .list()
        .filter(({ metadata }) => metadata.annotations?.[PRESSURE_ANNOTATION] !== undefined)
        .map(({ metadata }) => metadata.name),
    );

  /** Whether all of it was done. */
  const remove = async (planned: readonly Removal[], confirmed: readonly Removal[]): Promise<boolean> => {
    const uids = new Set(planned.map(({ checkpoint }) => checkpoint.metadata.uid));
    for (const removal of confirmed.filter(({ checkpoint }) => uids.has(checkpoint.metadata.uid))) {
      if (!rate.tryTake()) return false;
      const { checkpoint, why, policy, by: rule, bytes } = removal;
      if (!(await erase(checkpoints, checkpoint))) continue;
      const { namespace, name } = checkpoint.metadata;
      metrics?.increment("kcr_retention_removed_total", { rule });
      metrics?.increment("kcr_retention_removed_bytes_total", { rule }, bytes);
      log.info({ namespace, checkpoint: name, why, policy, bytes }, "a checkpoint goes");
      recorder.record({
        regarding: { ...checkpoint, apiVersion: `${checkpoints.group}/${checkpoints.version}` },
        type: "Normal",
        reason: "RetentionEnded",
        action: "Remove",
        note: `${policy}: ${why}`,
      });
    }
    return true;
  };

  const trim = async (
    planned: readonly CheckpointRequest[],
    confirmed: readonly CheckpointRequest[],
  ): Promise<void> => {
    const uids = new Set(planned.map(({ metadata }) => metadata.uid));
    for (const request of confirmed) if (uids.has(request.metadata.uid)) await erase(requests, request);
  };

  /** Deletes that very object as it was read; false where it changed or went meanwhile. */
  const erase = async <T extends KubeObject>(
    resource: Resource<T>,
    { metadata: { namespace, name, uid, resourceVersion } }: T,
  ): Promise<boolean> => {
    try {
      await client.delete(
        resource,
        { namespace, name },
        { preconditions: { uid, resourceVersion }, propagationPolicy: "Background" },
      );
      return true;
    } catch (error) {
      if (isConflict(error) || isNotFound(error)) return false;
      throw error;
    }
  };

  const write = async ({ checkpoint, status, reason }: Mark): Promise<void> => {
    const message = MARKS[reason];
    await updateStatus(client, checkpoints, checkpoint, (current) => {
      const old = current.status?.conditions;
      const conditions = setCondition(old, { type: LINEAGE_LOST, status, reason, message }, now());
      return conditions === old ? undefined : { conditions };
    });
  };

  /** Has the Checkpoints of schedules that say so outlive their schedule, once nothing is to be done for the request. */
  const letGo = async (picture: Picture): Promise<void> => {
    const retaining = new Set(
      picture.schedules
        .filter(({ spec }) => spec.retention?.onWorkloadDeleted === "Retain")
        .map(({ metadata }) => metadata.uid),
    );
    const settled = new Set(picture.requests.filter(isTerminal).map(({ metadata }) => metadata.uid));
    for (const { metadata, spec } of retaining.size === 0 ? [] : picture.checkpoints) {
      const owners = metadata.ownerReferences ?? [];
      const isOwned = owners.some(({ uid }) => settled.has(uid));
      if (!retaining.has(spec.checkpointScheduleRef?.uid) || !isOwned) continue;
      const { namespace, name, resourceVersion } = metadata;
      const body = { metadata: { resourceVersion, ownerReferences: null } };
      await client.patch(checkpoints, { namespace, name }, { type: "merge", body }).catch(absent);
    }
  };

  const tell = async <T extends Policy>(
    resource: Resource<T>,
    policy: T,
    next: RetentionStatus,
  ): Promise<void> => {
    const old: Record<string, unknown> = { ...policy.status };
    if (Object.entries(next).every(([key, value]) => isDeepStrictEqual(old[key], value))) return;
    await writeStatus(client, resource, policy, next).catch(absent);
  };

  /** Cluster-wide policies tell what the plans of all namespaces say. */
  const reconcileCluster = async ({ name }: ObjectName): Promise<Outcome> => {
    const policy = own.clusterRetentions.get(undefined, name);
    if (policy === undefined) return done;
    await tell(clusterRetentions, policy, statusOf(policy, plans, now()));
    return again(10_000);
  };

  const everywhere = (): ObjectName[] =>
    [...new Set(caches.checkpoints.list().map(({ metadata }) => metadata.namespace ?? ""))].map((name) => ({
      name,
    }));
  const here = ({ metadata }: KubeObject): ObjectName[] => [{ name: metadata.namespace ?? "" }];
  const common = { log, metrics, backoff: { baseMs: 1_000, maxMs: 60_000, jitter: 0.2 } };
  return [
    new Controller({
      ...common,
      name: "retention",
      workers: 2,
      reconcile,
      sources: [
        changesOf(caches.checkpoints, here),
        changesOf(caches.schedules, here),
        changesOf(caches.restores, here),
        changesOf(caches.requests, (request) => (isTerminal(request) ? here(request) : [])),
        changesOf(own.retentions, here),
        changesOf(own.clusterRetentions, everywhere),
        changesOf(own.downloads, here),
        // Labels of it may select.
        changesOf(own.namespaces, ({ metadata: { name } }) => [{ name }]),
        changesOf(caches.nodes, (node, previous) =>
          node.metadata.annotations?.[PRESSURE_ANNOTATION] ===
          previous?.metadata.annotations?.[PRESSURE_ANNOTATION]
            ? []
            : everywhere(),
        ),
        // Pods are looked at every minute; their changes are too many. They must be known all the same.
        changesOf(caches.pods, () => []),
      ],
    }),
    new Controller({
      ...common,
      name: "cluster-retention",
      reconcile: reconcileCluster,
      sources: [changesOf(own.clusterRetentions)],
    }),
  ];
}

type Policy = CheckpointRetention | ClusterCheckpointRetention;

const MARKS: Readonly<Record<Mark["reason"], string>> = {
  FreshStart: "its container began afresh: the newest good one of this state is kept for seven days",
  PodGone: "its pod is gone: the newest good one of this state is kept for seven days",
  Ended: "its program ended by itself",
  Alive: "its container goes on from it",
};
