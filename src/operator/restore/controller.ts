import { isDeepStrictEqual } from "node:util";
import type { Checkpoint } from "../../api/checkpoint.ts";
import { POISONED } from "../../api/checkpoint.ts";
import { setCondition } from "../../api/conditions.ts";
import { KcrError } from "../../api/errors.ts";
import { checkpointOfImage, restoreImage } from "../../api/images.ts";
import { checkpoints, isGood } from "../../api/kinds.ts";
import { RECORD_ANNOTATION } from "../../api/labels.ts";
import { lineageOf } from "../../api/lineage.ts";
import { type ContainerStatus, containersOf, handlerOf, RESTORED, statusOf } from "../../api/pod.ts";
import { type Protection, protectionOf } from "../../api/protection.ts";
import { type ContainerRecord, laterRecord, readRecords, recordsText } from "../../api/records.ts";
import { countRestore as countOutcome, type RestoreOutcome } from "../../api/restore-metrics.ts";
import type { JsonPatch } from "../../kube/client.ts";
import { again, Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import { isConflict, isForbidden } from "../../kube/errors.ts";
import { noMetrics } from "../../kube/metrics.ts";
import { controllerOf } from "../../kube/owner.ts";
import { type ObjectName, type Pod, pods } from "../../kube/resources.ts";
import { writeCondition, writeStatus } from "../../kube/write.ts";
import { BY_POD, BY_POD_UID, BY_UID, type Context } from "../context.ts";
import { podsOfSchedule, schedulesOfPod } from "../selection.ts";
import { decideRestore, mayBeOf, type RestoreDecision, type RestoreInput } from "./decide.ts";
import { PullProbe } from "./pull-probe.ts";
import { imageObstacle } from "./strategy.ts";

const placeOf = ({ metadata, spec }: Pod) => ({ namespace: metadata.namespace, nodeName: spec?.nodeName });

/** How soon to try again what a policy forbade, in milliseconds. */
const FORBIDDEN_MS = 30_000;

/**
 * A container that failed gets the newest good Checkpoint of its lineage as its image (strategy Image).
 *
 * Flow: gather what the API server says of the pod -> decide (decide.ts) per container -> one write of the pod
 * that tests its UID and resourceVersion: image and record change together or not at all.
 * Guarantees: the pod is touched only once its node is known to be able to pull; a decision made on an
 * overtaken picture has no effect.
 */
export function restoreController(context: Context): Controller {
  const { client, caches, recorder, log, metrics = noMetrics, now, settings } = context;
  const probe = new PullProbe(context);

  const reconcile = async ({ namespace, name }: ObjectName): Promise<Outcome> => {
    const pod = caches.pods.get(namespace, name);
    if (pod?.spec === undefined || pod.metadata.deletionTimestamp !== undefined) return done;
    if (pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed") return done;
    // What its node's handler restores needs no other image, and no record: its runs are noted on the node.
    if (handlerOf(pod) !== undefined) return done;
    const records = readRecords(pod);
    const protection = protectionOf(pod, schedulesOfPod(caches, pod));
    const asked = askedOf(pod);
    if (protection.size === 0 && asked.size === 0 && Object.keys(records).length === 0) return done;

    const later = laterRecord(pod);
    if (later !== undefined) {
      const [own] = protection.values();
      await tell(pod, own, "Warning", later.code, later.advice);
      return done;
    }

    // Asked ahead of need: a crash should not wait for the answer.
    if (protection.size > 0 && ownCheckpoints(pod).some(isGood)) {
      probe.check(pod.spec.nodeName ?? "");
    }

    let soonest: number | undefined;
    for (const container of containersOf(pod)) {
      const own = protection.get(container.name);
      const record = records[container.name];
      const status = statusOf(pod, container.name);
      const wish = asked.get(container.name);
      if (status === undefined || (own === undefined && record === undefined && wish === undefined)) continue;
      const decision = decide(pod, container.name, status, record, own, wish);
      const outcome = await act(pod, container.name, status, decision, own);
      // One write to the pod at a time: its change brings us here again, with what the write made of it.
      if (outcome === "written") return done;
      if (outcome !== undefined) soonest = Math.min(soonest ?? outcome, outcome);
    }
    return soonest === undefined ? done : again(soonest);
  };

  /** The Checkpoints of the pod, whatever others claim to be of it. */
  const ownCheckpoints = (pod: Pod): Checkpoint[] =>
    caches.checkpoints.byIndex(BY_POD_UID, pod.metadata.uid ?? "").filter((c) => mayBeOf(c, placeOf(pod)));

  /**
   * The Checkpoints that the state of the pod's containers may have come from: its own, and those of the pods
   * that it was taken over from.
   */
  const related = (pod: Pod, ...parents: (string | undefined)[]): Checkpoint[] => {
    const { namespace, uid = "" } = pod.metadata;
    const found: Checkpoint[] = [];
    /** The pods, and the node of each. */
    const nodeOf = new Map([[uid, pod.spec?.nodeName]]);
    const follow = (names: (string | undefined)[]): void => {
      for (const name of new Set(names)) {
        const parent = name === undefined ? undefined : caches.checkpoints.get(namespace, name);
        const from = parent?.status?.lineage?.podUID;
        if (from !== undefined && !nodeOf.has(from)) nodeOf.set(from, parent?.spec.nodeName);
      }
    };
    follow(parents);
    // Grows while it is walked.
    for (const [podUID, nodeName] of nodeOf) {
      const own = caches.checkpoints
        .byIndex(BY_POD_UID, podUID)
        .filter((c) => mayBeOf(c, { namespace, nodeName }));
      found.push(...own);
      follow(own.map((c) => c.status?.lineage?.parent));
    }
    return found;
  };

  /** What people ask of the pod's containers now, by container. */
  const askedOf = (pod: Pod): ReadonlyMap<string, NonNullable<RestoreInput["asked"]>> => {
    const { namespace, name, uid } = pod.metadata;
    const asked = new Map<string, NonNullable<RestoreInput["asked"]>>();
    for (const { spec, status, metadata } of caches.restores.byIndex(BY_POD, `${namespace}/${name}`)) {
      const { phase, strategy, podUID, containerName, containerID } = status ?? {};
      if (phase !== "Restoring" || strategy !== "Image" || metadata.deletionTimestamp !== undefined) continue;
      const checkpoint = caches.checkpoints.get(namespace, spec.checkpointName);
      if (podUID !== uid || containerName === undefined || checkpoint === undefined) continue;
      if (isGood(checkpoint)) asked.set(containerName, { checkpoint, replaces: containerID ?? "" });
    }
    return asked;
  };

  const decide = (
    pod: Pod,
    container: string,
    status: ContainerStatus,
    record: ContainerRecord | undefined,
    protection: Protection | undefined,
    asked: RestoreInput["asked"],
  ): RestoreDecision => {
    const spec = containersOf(pod).find((c) => c.name === container);
    const all = related(pod, record?.parent, record?.restore?.checkpoint, asked?.checkpoint.metadata.name);
    const namespace = pod.metadata.namespace ?? "";
    const gather = (obstacle: () => KcrError | "unknown" | undefined) =>
      decideRestore(
        {
          podUID: pod.metadata.uid ?? "",
          specImage: spec?.image ?? "",
          restartPolicy: restartPolicyOf(pod, spec?.restartPolicy),
          status,
          record,
          wanted: protection !== undefined,
          asked,
          maxAttempts: protection?.maxAttempts ?? 1,
          fallback: protection?.fallback ?? "FreshStart",
          stableMs: settings.restore.stableSeconds * 1000,
          kubeletMayRestart: spec?.livenessProbe !== undefined || spec?.startupProbe !== undefined,
          graceMs: (pod.spec?.terminationGracePeriodSeconds ?? 30) * 1000,
          caughtUp: (pod.status?.observedGeneration ?? Infinity) >= (pod.metadata.generation ?? 0),
          lineage: (run) => lineageOf({ ...run, container }, all),
          named: (name) => caches.checkpoints.get(namespace, name),
          imageOf: (checkpoint) => restoreImage(checkpoint, settings),
          checkpointOf: (image) => checkpointOfImage(image, namespace, all, settings),
          obstacle,
        },
        now(),
      );
    // The obstacle costs a probe, so it is asked for only once a restore is known to be wanted.
    let needed = false;
    const first = gather(() => {
      needed = true;
      return "unknown";
    });
    if (!needed) return first;
    const node = pod.spec?.nodeName ?? "";
    const strategy = protection?.strategy ?? "Auto";
    const known = imageObstacle(pod, container, strategy, caches.nodes.get(undefined, node), settings);
    const obstacle = known ?? probe.check(node);
    return gather(() => obstacle);
  };

  const act = async (
    pod: Pod,
    container: string,
    status: ContainerStatus,
    decision: RestoreDecision,
    protection: Protection | undefined,
  ): Promise<number | "written" | undefined> => {
    switch (decision.type) {
      case "nothing":
        return decision.againMs;
      case "blocked":
        await tell(
          pod,
          protection,
          "Warning",
          decision.error.code,
          `container ${container}: ${decision.error.advice}`,
        );
        return decision.againMs;
      case "note":
        await writePod(pod, container, decision.record);
        return "written";
      case "settle": {
        const { outcome } = decision;
        if (outcome.type === "restored") await countRestore(pod, outcome.checkpoint, status);
        const written = await writePod(pod, container, decision.record);
        measure(pod, decision);
        if (outcome.type === "restored") {
          const note = restoredNote(pod, container, outcome.checkpoint);
          await tell(written, protection, "Normal", "Restored", note);
        } else if (outcome.type === "lost") {
          const first = outcome.error.code === "NoCheckpoint" ? "Normal" : "Warning";
          await tell(
            written,
            protection,
            first,
            outcome.error.code,
            `container ${container}: ${outcome.error.advice}`,
          );
        }
        return "written";
      }
      case "swap": {
        if (decision.poisoned !== undefined) await poison(decision.poisoned, decision.record.crashes);
        let written: Pod;
        try {
          written = await writePod(pod, container, decision.record, decision.image);
        } catch (cause) {
          if (!isForbidden(cause)) throw cause;
          const error = new KcrError("ImageForbidden", `image ${decision.image}: ${cause.message}`, {
            cause,
          });
          log.error(
            { namespace: pod.metadata.namespace, pod: pod.metadata.name, err: error },
            "an image is forbidden",
          );
          await tell(pod, protection, "Warning", error.code, `container ${container}: ${error.advice}`);
          return FORBIDDEN_MS;
        }
        measure(pod, decision);
        const note = decision.asked
          ? `container ${container} goes back to Checkpoint ${decision.to?.metadata.name}, as a CheckpointRestore asks`
          : decision.to === undefined
            ? `container ${container} goes back to its original image ${decision.image}${decision.why === undefined ? "" : `: ${decision.why.message}`}`
            : `container ${container} failed (${reasonOf(status)}) and restarts from Checkpoint ${decision.to.metadata.name}, ${ageOf(decision.to)} old`;
        const code = decision.to === undefined ? (decision.why?.code ?? "FreshStart") : "Restoring";
        await tell(written, protection, decision.why === undefined ? "Normal" : "Warning", code, note);
        return "written";
      }
      default:
        return decision satisfies never;
    }
  };

  /** Image and record in one patch that holds only for the very pod that was decided about. */
  const writePod = async (
    pod: Pod,
    container: string,
    record: ContainerRecord,
    image?: string,
  ): Promise<Pod> => {
    const { namespace, name, uid, resourceVersion, annotations } = pod.metadata;
    const records = recordsText({ ...readRecords(pod), [container]: record });
    // The cache drops other annotations, so whether there are any is asked of the object as it is now.
    const current = await client.get(pods, { namespace, name });
    const body: JsonPatch = [
      { op: "test", path: "/metadata/uid", value: uid },
      { op: "test", path: "/metadata/resourceVersion", value: resourceVersion },
      ...(current.metadata.annotations === undefined && annotations?.[RECORD_ANNOTATION] === undefined
        ? [{ op: "add" as const, path: "/metadata/annotations", value: {} }]
        : []),
      { op: "add", path: `/metadata/annotations/${RECORD_ANNOTATION.replace("/", "~1")}`, value: records },
    ];
    if (image !== undefined) {
      for (const list of ["containers", "initContainers"] as const) {
        const index = (current.spec?.[list] ?? []).findIndex((c) => c.name === container);
        if (index >= 0) body.push({ op: "replace", path: `/spec/${list}/${index}/image`, value: image });
      }
    }
    return await client.patch(pods, { namespace, name }, { type: "json", body });
  };

  const poison = async (checkpoint: Checkpoint, crashes: number): Promise<void> => {
    const error = new KcrError(
      "CheckpointPoisoned",
      `the container crashed at once after ${crashes} restores from it`,
    );
    await writeStatus(client, checkpoints, checkpoint, {
      conditions: setCondition(
        checkpoint.status?.conditions,
        { type: POISONED, status: "True", reason: error.code, message: error.advice },
        now(),
      ),
    });
    recorder.record({
      regarding: checkpoint,
      type: "Warning",
      reason: error.code,
      action: "Restore",
      note: error.advice,
    });
  };

  /** Counted by the time at which the restored run began, so that doing it twice counts once. */
  const countRestore = async (pod: Pod, name: string, status: ContainerStatus): Promise<void> => {
    const checkpoint = caches.checkpoints.get(pod.metadata.namespace, name);
    const began = status.state?.running?.startedAt;
    if (
      checkpoint === undefined ||
      began === undefined ||
      checkpoint.status?.lastRestoredTime === String(began)
    )
      return;
    await writeStatus(client, checkpoints, checkpoint, {
      restoredCount: (checkpoint.status?.restoredCount ?? 0) + 1,
      lastRestoredTime: String(began),
    });
  };

  /** A fresh start is counted when it is decided, for it comes of itself; a restore when it has come true. */
  const measure = (pod: Pod, decision: RestoreDecision): void => {
    const count = (result: "restored" | "lost" | "fresh", more: Partial<RestoreOutcome> = {}) =>
      countOutcome(metrics, { strategy: "Image", result, ...more });
    if (decision.type === "swap" && decision.to === undefined) {
      if (decision.why === undefined) count("fresh");
      else count("lost", { failures: [decision.why.code] });
    } else if (decision.type === "settle" && decision.outcome.type === "lost") {
      const { code } = decision.outcome.error;
      count("lost", { failures: code === "NoCheckpoint" ? [] : [code] });
    } else if (decision.type === "settle" && decision.outcome.type === "restored") {
      const checkpoint = caches.checkpoints.get(pod.metadata.namespace, decision.outcome.checkpoint);
      count("restored", checkpoint && { ageSeconds: secondsOld(checkpoint) });
    }
  };

  const restoredNote = (pod: Pod, container: string, name: string): string => {
    const checkpoint = caches.checkpoints.get(pod.metadata.namespace, name);
    const age = checkpoint === undefined ? "" : `: its state is ${ageOf(checkpoint)} old`;
    return `container ${container} runs again from Checkpoint ${name}${age}`;
  };

  const secondsOld = ({ spec }: Checkpoint): number =>
    Math.max(0, (now().getTime() - Date.parse(spec.checkpointTimestamp)) / 1000);

  const ageOf = (checkpoint: Checkpoint): string => `${Math.round(secondsOld(checkpoint))} s`;

  /** An Event on the pod and on its workload, and the condition of the pod as it was decided about or written. */
  const tell = async (
    pod: Pod,
    protection: Protection | undefined,
    type: "Normal" | "Warning",
    reason: string,
    note: string,
  ): Promise<void> => {
    recorder.record({ regarding: pod, type, reason, action: "Restore", note });
    const owner = protection && controllerOf(protection.schedule);
    if (owner !== undefined) {
      const { apiVersion, kind, name, uid } = owner;
      const workload = { apiVersion, kind, metadata: { name, uid, namespace: pod.metadata.namespace } };
      recorder.record({
        regarding: workload,
        type,
        reason,
        action: "Restore",
        note: `pod ${pod.metadata.name}: ${note}`,
      });
    }
    const status = reason === "Restored" ? "True" : reason === "Restoring" ? "Unknown" : "False";
    const old = pod.status?.conditions?.find((c) => c.type === RESTORED);
    if (old?.reason === reason && old.message === note) return;
    const condition = {
      type: RESTORED,
      status,
      reason,
      message: note,
      lastTransitionTime:
        (old?.status === status ? old.lastTransitionTime : undefined) ?? now().toISOString(),
    };
    await say(pod, condition);
  };

  /**
   * Writes the pod's condition. Its kubelet writes too, so it is tried again, but only as long as record and condition
   * are those that were decided on or written: whoever has decided since says something else.
   */
  const say = async (pod: Pod, condition: { type: string }): Promise<void> => {
    const standing = ({ metadata, status }: Pod) => [
      metadata.uid,
      metadata.annotations?.[RECORD_ANNOTATION],
      status?.conditions?.find(({ type }) => type === condition.type),
    ];
    for (let current = pod; ; ) {
      try {
        await writeCondition(client, pods, current, condition);
        return;
      } catch (error) {
        if (!isConflict(error)) throw error;
      }
      current = await client.get(pods, pod.metadata);
      if (!isDeepStrictEqual(standing(current), standing(pod))) return;
    }
  };

  return new Controller({
    name: "restore",
    log,
    metrics,
    workers: 8,
    reconcile,
    sources: [
      changesOf(caches.pods),
      // What runs in a pod when it becomes protected is noted then, not when it has crashed.
      changesOf(caches.schedules, (schedule, previous) => {
        const { namespace = "", generation } = schedule.metadata;
        if (previous?.metadata.generation === generation) return [];
        return podsOfSchedule(caches, schedule).map(({ metadata }) => ({ namespace, name: metadata.name }));
      }),
      changesOf(caches.restores, ({ metadata, spec }) => [
        { namespace: metadata.namespace, name: spec.podReference.name },
      ]),
      changesOf(caches.checkpoints, (checkpoint) => {
        const uid = checkpoint.status?.lineage?.podUID;
        if (uid === undefined) return [];
        return caches.pods
          .byIndex(BY_UID, uid)
          .map(({ metadata }) => ({ namespace: metadata.namespace, name: metadata.name }));
      }),
    ],
  });
}

/** A native sidecar restarts always, whatever its pod's policy. */
function restartPolicyOf(pod: Pod, own: string | undefined): "Always" | "OnFailure" | "Never" {
  const policy = own ?? pod.spec?.restartPolicy;
  return policy === "Never" || policy === "OnFailure" ? policy : "Always";
}

const reasonOf = (status: ContainerStatus): string => {
  const ended = status.state?.terminated ?? status.lastState?.terminated;
  return ended === undefined ? "cause unknown" : `${ended.reason ?? "ended"}, exit code ${ended.exitCode}`;
};
