import type { Checkpoint } from "../../api/checkpoint.ts";
import { setCondition } from "../../api/conditions.ts";
import { KcrError } from "../../api/errors.ts";
import { readFacts } from "../../api/facts.ts";
import { restoreImage } from "../../api/images.ts";
import { isTerminal, requests, restores } from "../../api/kinds.ts";
import { protectionOf } from "../../api/protection.ts";
import { READY } from "../../api/request.ts";
import type { CheckpointRestore, RestoreStatus } from "../../api/restore.ts";
import type { JsonPatch } from "../../kube/client.ts";
import { again, Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import { isAlreadyExists } from "../../kube/errors.ts";
import { controllerOf } from "../../kube/owner.ts";
import { type KubeObject, type ObjectName, type Pod, pods } from "../../kube/resources.ts";
import { absent, writeStatus } from "../../kube/write.ts";
import { BY_NAMESPACE, BY_POD, type Context } from "../context.ts";
import { imageObstacle } from "../restore/strategy.ts";
import { type DemandDecision, type DemandWorld, decideDemand } from "./decide.ts";
import { saveRequest } from "./save.ts";

/**
 * Restores that people ask for: takes a CheckpointRestore from phase to phase.
 *
 * Flow: gather what the API server says -> decide (decide.ts) -> one write. What a container becomes is done by
 * others: by the node's agent and handler (strategy Runtime), or by the restore controller (strategy Image).
 * Guarantees: killed at any point, the next leader goes on from the status alone; one restore of a pod at a time;
 * the pod is written to only as it was looked at.
 */
export function demandController(context: Context): Controller {
  const { client, caches, recorder, log, now, settings } = context;

  const reconcile = async ({ namespace, name }: ObjectName): Promise<Outcome> => {
    const restore = caches.restores.get(namespace, name);
    if (restore === undefined || isTerminal(restore)) return done;
    const pod = await client.get(pods, { namespace, name: restore.spec.podReference.name }).catch(absent);
    const world = await gather(restore, pod);
    return await act(restore, pod, world, decideDemand(restore, world));
  };

  const gather = async (restore: CheckpointRestore, pod: Pod | undefined): Promise<DemandWorld> => {
    const { namespace = "" } = restore.metadata;
    const { phase, containerName } = restore.status ?? {};
    const isPending = phase === undefined || phase === "Pending";
    const named = (name: string): Checkpoint | undefined => caches.checkpoints.get(namespace, name);
    const schedules = caches.schedules.byIndex(BY_NAMESPACE, namespace);
    const node = caches.nodes.get(undefined, pod?.spec?.nodeName ?? "");
    return {
      now: now(),
      pod,
      named,
      request:
        phase === "SavingCurrent"
          ? await client.get(requests, saveRequest(restore, containerName ?? "").metadata).catch(absent)
          : undefined,
      ahead: isPending ? await aheadOf(restore) : undefined,
      nodeFacts: node && readFacts(node),
      protection: pod === undefined ? new Map() : protectionOf(pod, schedules),
      imageObstacle(container, checkpoint) {
        if (pod === undefined) return undefined;
        const strategy = protectionOf(pod, schedules).get(container)?.strategy ?? "Auto";
        const obstacle = imageObstacle(pod, container, strategy, node, settings);
        if (obstacle !== undefined || restoreImage(checkpoint, settings) !== undefined) return obstacle;
        const what = `Checkpoint ${checkpoint.metadata.name} has no image in the registry`;
        return new KcrError("StrategyUnavailable", `strategy Image is not possible: ${what}`);
      },
    };
  };

  /**
   * The restore of the same pod that goes first: one that was begun, else the oldest. Asked of the API server, for
   * what this process has just begun need not be in the cache.
   */
  const aheadOf = async ({ metadata, spec }: CheckpointRestore): Promise<string | undefined> => {
    const { items } = await client.listAll(restores, { namespace: metadata.namespace });
    const isBegun = ({ status }: CheckpointRestore): boolean =>
      status?.phase === "SavingCurrent" || status?.phase === "Restoring";
    const age = (r: KubeObject): string => `${r.metadata.creationTimestamp} ${r.metadata.name}`;
    const others = items
      .filter((r) => r.metadata.uid !== metadata.uid && r.spec.podReference.name === spec.podReference.name)
      .filter((r) => !isTerminal(r) && r.metadata.deletionTimestamp === undefined)
      .filter((r) => isBegun(r) || age(r) < age({ metadata }));
    return (others.find(isBegun) ?? others[0])?.metadata.name;
  };

  const act = async (
    restore: CheckpointRestore,
    pod: Pod | undefined,
    world: DemandWorld,
    decision: DemandDecision,
  ): Promise<Outcome> => {
    const { checkpointName } = restore.spec;
    switch (decision.type) {
      case "nothing":
        return done;
      case "wait": {
        const { why, againMs } = decision;
        const { reason, message, phase = "Pending" } = restore.status ?? {};
        // A phase that was begun is under way; only what was not begun has a reason for that.
        const code = phase === "Pending" ? why?.code : undefined;
        if (why !== undefined && (code !== reason || why.message !== message)) {
          await write(restore, { phase, reason: code, message: why.message });
        }
        return again(againMs);
      }
      case "enter": {
        const { phase, status, doubts } = decision;
        await write(restore, { ...status, phase, reason: undefined, message: undefined });
        const { containerName, strategy } = status;
        const note =
          phase === "SavingCurrent"
            ? `container ${containerName} is checkpointed before it goes back to Checkpoint ${checkpointName}`
            : `container ${containerName} goes back to Checkpoint ${checkpointName} by strategy ${strategy}${doubts === undefined ? "" : `; ${doubts}`}`;
        // With strategy Image the restore controller tells the pod and the workload.
        const isToldToAll = phase === "Restoring" && strategy === "Runtime";
        tell(restore, isToldToAll ? pod : undefined, world, "Normal", phase, note);
        return done;
      }
      case "save":
        await client
          .create(requests, saveRequest(restore, restore.status?.containerName ?? ""))
          .catch(exists);
        return done;
      case "rewrite":
        if (pod !== undefined) await rewrite(pod, decision.container, decision.image);
        return done;
      case "complete": {
        const message = completeMessage(restore, decision.checkpoint);
        await write(restore, {
          ...ended("Completed", "Restored", message),
          conditions: setCondition(
            restore.status?.conditions,
            { type: READY, status: "True", reason: "Restored", message },
            now(),
          ),
        });
        tell(restore, undefined, world, "Normal", "Restored", message);
        return done;
      }
      case "fail": {
        const { code, advice } = decision.error;
        await write(restore, {
          ...ended("Failed", code, advice),
          conditions: setCondition(
            restore.status?.conditions,
            { type: READY, status: "False", reason: code, message: advice },
            now(),
          ),
        });
        tell(restore, pod, world, "Warning", code, advice);
        return done;
      }
      default:
        return decision satisfies never;
    }
  };

  const write = (restore: CheckpointRestore, status: RestoreStatus): Promise<CheckpointRestore> =>
    writeStatus(client, restores, restore, {
      startTime: restore.status?.startTime ?? now().toISOString(),
      ...status,
    });

  const ended = (phase: "Completed" | "Failed", reason: string, message: string): RestoreStatus => ({
    phase,
    reason: phase === "Failed" ? reason : undefined,
    message,
    completionTime: now().toISOString(),
  });

  const completeMessage = (
    { spec, status }: CheckpointRestore,
    checkpoint: Checkpoint | undefined,
  ): string => {
    const taken = Date.parse(checkpoint?.spec.checkpointTimestamp ?? "");
    const age = Number.isNaN(taken)
      ? ""
      : `, ${Math.max(0, Math.round((now().getTime() - taken) / 1000))} s old`;
    const saved =
      status?.savedCheckpoint === undefined
        ? ""
        : `; what it was before is Checkpoint ${status.savedCheckpoint}`;
    return `container ${status?.containerName} runs again from Checkpoint ${spec.checkpointName}${age}${saved}`;
  };

  /** The container's image and nothing else, of the very pod that was looked at. */
  const rewrite = async (pod: Pod, container: string, image: string): Promise<void> => {
    const { namespace, name, uid, resourceVersion } = pod.metadata;
    const body: JsonPatch = [
      { op: "test", path: "/metadata/uid", value: uid },
      { op: "test", path: "/metadata/resourceVersion", value: resourceVersion },
    ];
    for (const list of ["containers", "initContainers"] as const) {
      const index = (pod.spec?.[list] ?? []).findIndex((c) => c.name === container);
      if (index >= 0) body.push({ op: "replace", path: `/spec/${list}/${index}/image`, value: image });
    }
    await client.patch(pods, { namespace, name }, { type: "json", body });
  };

  /** An Event on the CheckpointRestore, and where the pod is given, on it and its workload. */
  const tell = (
    restore: CheckpointRestore,
    pod: Pod | undefined,
    { protection }: DemandWorld,
    type: "Normal" | "Warning",
    reason: string,
    note: string,
  ): void => {
    const event = { type, reason, action: "Restore" };
    recorder.record({ ...event, regarding: restore, note });
    if (pod === undefined) return;
    const asked = `CheckpointRestore ${restore.metadata.name}: ${note}`;
    recorder.record({ ...event, regarding: pod, note: asked });
    const schedule = protection.get(restore.status?.containerName ?? "")?.schedule;
    const owner = schedule && controllerOf(schedule);
    if (owner === undefined) return;
    const { apiVersion, kind, name, uid } = owner;
    const workload = { apiVersion, kind, metadata: { name, uid, namespace: pod.metadata.namespace } };
    recorder.record({ ...event, regarding: workload, note: `pod ${pod.metadata.name}: ${asked}` });
  };

  const ofPod = (namespace = "", pod: string): ObjectName[] =>
    caches.restores.byIndex(BY_POD, `${namespace}/${pod}`).map(({ metadata }) => metadata);

  return new Controller({
    name: "demand",
    log,
    metrics: context.metrics,
    // One at a time: of two that ask for one pod, one has to be seen to have begun.
    workers: 1,
    reconcile,
    sources: [
      changesOf(caches.restores, ({ metadata, spec }) => [
        metadata,
        ...ofPod(metadata.namespace, spec.podReference.name),
      ]),
      changesOf(caches.pods, ({ metadata }) => ofPod(metadata.namespace, metadata.name)),
      changesOf(caches.requests, ({ metadata, spec }) => ofPod(metadata.namespace, spec.podReference.name)),
      changesOf(caches.checkpoints, ({ metadata }) =>
        caches.restores.byIndex(BY_NAMESPACE, metadata.namespace ?? "").map((r) => r.metadata),
      ),
    ],
  });
}

/** For `catch`: what exists already was made before. Its name is this restore's alone. */
function exists(error: unknown): undefined {
  if (isAlreadyExists(error)) return undefined;
  throw error;
}
