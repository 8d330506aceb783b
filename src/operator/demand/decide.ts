import { type Checkpoint, RESTORABLE } from "../../api/checkpoint.ts";
import { findCondition } from "../../api/conditions.ts";
import { ERRORS, type ErrorCode, KcrError } from "../../api/errors.ts";
import type { Facts } from "../../api/facts.ts";
import { describeDoubts, describeMisfits, differencesIn, whyNotHere } from "../../api/fit.ts";
import { isGood, isTerminal } from "../../api/kinds.ts";
import { findContainer, handlerOf, RESTORED as POD_RESTORED, runtimeID, statusOf } from "../../api/pod.ts";
import type { Protection } from "../../api/protection.ts";
import { laterRecord, mayDump, readRecords } from "../../api/records.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import {
  ARMED,
  type CheckpointRestore,
  DEFAULT_RESTORE_TIMEOUT_SECONDS,
  RESTORED,
  type RestoreStatus,
} from "../../api/restore.ts";
import type { Pod } from "../../kube/resources.ts";
import { equalReference } from "../restore/reference.ts";
import { type Current, currentOf } from "./current.ts";
import { misfit, type Named } from "./fit.ts";

export type DemandDecision =
  | { type: "nothing" }
  /** Something has to come first; it is looked at again after so long at the latest. */
  | { type: "wait"; againMs: number; why?: KcrError }
  /** One phase further. */
  | {
      type: "enter";
      phase: "SavingCurrent" | "Restoring";
      status: RestoreStatus;
      /** Why the Checkpoint may yet not fit the node, as far as that is not known for sure. */
      doubts?: string;
    }
  /** The request for a checkpoint of what the container is now has to be made. */
  | { type: "save" }
  /** The agent has armed it: a container whose image is written otherwise is restarted by its kubelet. */
  | { type: "rewrite"; container: string; image: string }
  | { type: "complete"; checkpoint: Checkpoint | undefined }
  | { type: "fail"; error: KcrError };

/** What there is around a CheckpointRestore. */
export interface DemandWorld {
  now: Date;
  /** The pod of the name that is asked for, as the API server has it now. */
  pod: Pod | undefined;
  /** Checkpoints of the namespace. */
  named: Named;
  /** The request that saves what the container is now, if it was made. */
  request: CheckpointRequest | undefined;
  /** The restore of the same pod that goes first, if there is one. */
  ahead: string | undefined;
  /** What is known of the pod's node. */
  nodeFacts: Facts | undefined;
  /** How the pod's containers are protected. */
  protection: ReadonlyMap<string, Protection>;
  /** Why that container of the pod cannot be given the image of the Checkpoint. */
  imageObstacle(container: string, checkpoint: Checkpoint): KcrError | undefined;
}

const LOOK_AGAIN_MS = 5_000;

const failed = (code: ErrorCode, message: string): DemandDecision => ({
  type: "fail",
  error: new KcrError(code, message),
});
const waiting = (code: ErrorCode, message: string): DemandDecision => ({
  type: "wait",
  againMs: LOOK_AGAIN_MS,
  why: new KcrError(code, message),
});
const WAIT: DemandDecision = { type: "wait", againMs: LOOK_AGAIN_MS };

/**
 * What becomes of a restore that a person asks for, from what the API server says alone.
 *
 * Flow: Pending: checked; others of the pod first -> SavingCurrent: a checkpoint of a running container, unless it
 * is to be discarded -> Restoring: armed by the agent, then the image is rewritten, then the agent says how it went
 * (Runtime); or the restore controller gives the container the Checkpoint's image and its record says how it went
 * (Image) -> Completed or Failed.
 * Guarantees: it ends, at the latest `timeoutSeconds` after it was accepted, and as long may it wait for that;
 * nothing of the pod changes before what it would lose is saved; every step can be taken twice.
 */
export function decideDemand(restore: CheckpointRestore, world: DemandWorld): DemandDecision {
  if (isTerminal(restore) || restore.metadata.deletionTimestamp !== undefined) return { type: "nothing" };
  const decision = decidePhase(restore, world);
  return decision.type === "wait" ? withinDeadline(restore, decision, world.now) : decision;
}

function decidePhase(restore: CheckpointRestore, world: DemandWorld): DemandDecision {
  switch (restore.status?.phase) {
    case undefined:
    case "Pending":
      return whilePending(restore, world);
    case "SavingCurrent":
      return whileSaving(restore, world);
    case "Restoring":
      return restore.status.strategy === "Image"
        ? whileSwapping(restore, world)
        : whileArming(restore, world);
    default:
      return { type: "nothing" };
  }
}

function withinDeadline(
  { spec, status, metadata }: CheckpointRestore,
  wait: Extract<DemandDecision, { type: "wait" }>,
  now: Date,
): DemandDecision {
  const since = Date.parse(status?.acceptedTime ?? metadata.creationTimestamp ?? now.toISOString());
  const timeout = (spec.timeoutSeconds ?? DEFAULT_RESTORE_TIMEOUT_SECONDS) * 1000;
  const left = since + timeout - now.getTime();
  if (left > 0) return { ...wait, againMs: Math.min(wait.againMs, left) };
  const what = wait.why?.message ?? `phase ${status?.phase ?? "Pending"} did not end`;
  return failed("DeadlineExceeded", `not restored within ${timeout / 1000} s: ${what}`);
}

/** The Checkpoint and the container that are asked for, where a restore can be begun. */
interface Target {
  pod: Pod;
  checkpoint: Checkpoint;
  container: string;
  current: Exclude<Current, { type: "coming" | "over" }>;
  strategy: "Runtime" | "Image";
  doubts: string | undefined;
}
type Check = { type: "target"; target: Target } | { type: "not"; decision: DemandDecision };

/** Whether what is asked for can be, now: the same before saving and after it. */
function check({ spec, status }: CheckpointRestore, world: DemandWorld): Check {
  const not = (decision: DemandDecision): Check => ({ type: "not", decision });
  const checkpoint = world.named(spec.checkpointName);
  if (checkpoint === undefined) {
    return not(failed("CheckpointNotFound", `Checkpoint ${spec.checkpointName} does not exist`));
  }
  const { pod } = world;
  const podName = spec.podReference.name;
  if (pod === undefined || (status?.podUID !== undefined && pod.metadata.uid !== status.podUID)) {
    return not(failed("PodNotFound", `pod ${podName} does not exist`));
  }
  const phase = pod.metadata.deletionTimestamp !== undefined ? "being deleted" : pod.status?.phase;
  if (phase === "being deleted" || phase === "Succeeded" || phase === "Failed") {
    return not(failed("PodNotRunning", `pod ${podName} is ${phase}`));
  }
  const container = spec.containerName ?? checkpoint.spec.containerName;
  if (findContainer(pod, container) === undefined) {
    return not(failed("ContainerNotFound", `pod ${podName} has no container ${container}`));
  }
  if (!isGood(checkpoint)) {
    const what = `Checkpoint ${spec.checkpointName}`;
    return not(
      isUndecided(checkpoint)
        ? waiting("CheckpointNotReady", `${what} is not good yet`)
        : failed("CheckpointNotGood", `${what} is not good`),
    );
  }
  const later = laterRecord(pod);
  if (later !== undefined) return not({ type: "fail", error: later });
  const current = currentOf(pod, container);
  if (current.type === "over") {
    return not(failed("ContainerNotRunning", `container ${container} cannot be restarted: ${current.why}`));
  }
  if (current.type === "coming" || !pod.spec?.nodeName) {
    return not(waiting("ContainerNotRunning", `container ${container} of pod ${podName} does not run yet`));
  }
  const containerStatus = statusOf(pod, container);
  // A container that waits to be created loses nothing by being tried: its handler can name what differs.
  const onSpecChange =
    current.type === "awaiting" ? "Restore" : (world.protection.get(container)?.onSpecChange ?? "Fresh");
  const error = misfit(checkpoint, pod, container, containerStatus, world.named, onSpecChange);
  if (error !== undefined) return not({ type: "fail", error });
  const misfits = whyNotHere(checkpoint.status?.environment, world.nodeFacts);
  const differing = differencesIn(misfits);
  if (differing.length > 0) {
    const what = `Checkpoint ${spec.checkpointName} does not fit node ${pod.spec.nodeName}`;
    return not(failed("NodeDiffers", `${what}: ${describeMisfits(differing)}`));
  }

  const strategy = handlerOf(pod) === undefined ? "Image" : "Runtime";
  if (strategy === "Image") {
    const obstacle = world.imageObstacle(container, checkpoint);
    if (obstacle !== undefined) return not({ type: "fail", error: obstacle });
    if (!mayDump(readRecords(pod)[container], runtimeID(containerStatus?.containerID))) {
      return not(waiting("RestoreInProgress", `container ${container} of pod ${podName} has just restarted`));
    }
  } else if (current.type !== "awaiting") {
    const { image = "" } = findContainer(pod, container) ?? {};
    if (equalReference(image, containerStatus?.imageID) === undefined) {
      return not(
        failed(
          "StrategyUnavailable",
          `container ${container} cannot be restarted by itself: its runtime knows image ${image} by no digest of a registry`,
        ),
      );
    }
  }
  const doubts = describeDoubts(misfits);
  return { type: "target", target: { pod, checkpoint, container, current, strategy, doubts } };
}

function isUndecided({ metadata, status }: Checkpoint): boolean {
  if (metadata.deletionTimestamp !== undefined || status?.phase === "Failed") return false;
  return findCondition(status?.conditions, RESTORABLE) === undefined;
}

function whilePending(restore: CheckpointRestore, world: DemandWorld): DemandDecision {
  // What the pod is while another restore is under way says nothing.
  if (world.ahead !== undefined) {
    return waiting("RestoreInProgress", `CheckpointRestore ${world.ahead} of the same pod goes first`);
  }
  const checked = check(restore, world);
  if (checked.type === "not") return checked.decision;
  const { target } = checked;
  const accepted = { ...replaced(target), acceptedTime: world.now.toISOString() };
  if (target.current.type === "running" && restore.spec.discardCurrent !== true) {
    return { type: "enter", phase: "SavingCurrent", status: accepted };
  }
  const status = { ...accepted, strategy: target.strategy };
  return { type: "enter", phase: "Restoring", status, doubts: target.doubts };
}

/** Which run of which container is replaced. */
const replaced = ({ pod, container, current }: Target): RestoreStatus => ({
  nodeName: pod.spec?.nodeName,
  podUID: pod.metadata.uid,
  containerName: container,
  containerID: current.type === "awaiting" ? "" : current.containerID,
  originalImage: findContainer(pod, container)?.image,
});

function whileSaving(restore: CheckpointRestore, world: DemandWorld): DemandDecision {
  const { request } = world;
  if (request?.status?.phase === "Failed") {
    const { reason, message } = request.status;
    return failed("SaveFailed", `CheckpointRequest ${request.metadata.name} failed: ${reason}: ${message}`);
  }
  const checked = check(restore, world);
  if (checked.type === "not") return checked.decision;
  const { target } = checked;
  if (request === undefined) return { type: "save" };
  const { podReference, containerName } = request.spec;
  if (podReference.name !== target.pod.metadata.name || containerName !== target.container) {
    const { name } = request.metadata;
    return failed("SaveFailed", `CheckpointRequest ${name} is not for container ${target.container}`);
  }
  const savedName = request.status?.phase === "Completed" ? request.status.checkpoint?.name : undefined;
  const saved = savedName === undefined ? undefined : world.named(savedName);
  if (saved === undefined) return WAIT;
  if (!isGood(saved)) {
    if (isUndecided(saved)) return WAIT;
    return failed("SaveFailed", `Checkpoint ${savedName} is not good: ${saved.status?.failedReason ?? ""}`);
  }
  const { current } = target;
  if (current.type === "running" && saved.status?.lineage?.containerID !== current.containerID) {
    return failed("SaveFailed", `container ${target.container} restarted after Checkpoint ${savedName}`);
  }
  const { strategy, doubts } = target;
  const status = { ...replaced(target), savedCheckpoint: savedName, strategy };
  return { type: "enter", phase: "Restoring", status, doubts };
}

/** The container that is restored, or why there is none any more. */
function restoredContainer(
  { spec, status }: CheckpointRestore,
  { pod }: DemandWorld,
): { pod: Pod; container: string } | KcrError {
  const container = status?.containerName ?? "";
  if (
    pod === undefined ||
    pod.metadata.uid !== status?.podUID ||
    pod.metadata.deletionTimestamp !== undefined
  ) {
    return new KcrError("PodNotFound", `pod ${spec.podReference.name} went while it was restored`);
  }
  return { pod, container };
}

/** Strategy Runtime: the agent arms, the kubelet restarts, the handler restores, the agent tells. */
function whileArming(restore: CheckpointRestore, world: DemandWorld): DemandDecision {
  const { conditions, originalImage } = restore.status ?? {};
  const restored = findCondition(conditions, RESTORED);
  if (restored?.status === "True") {
    return { type: "complete", checkpoint: world.named(restore.spec.checkpointName) };
  }
  if (restored?.status === "False") return { type: "fail", error: toldError(restored) };
  const found = restoredContainer(restore, world);
  if (found instanceof KcrError) return { type: "fail", error: found };
  const armed = findCondition(conditions, ARMED);
  if (armed?.status === "False") return { type: "fail", error: toldError(armed) };
  if (armed?.status !== "True") {
    return waiting(
      "RestoreInProgress",
      `the agent of node ${restore.status?.nodeName} has not armed the restore`,
    );
  }
  const { pod, container } = found;
  const image = findContainer(pod, container)?.image ?? "";
  const outcome = waiting("RestoreInProgress", "the node has not said how the restore went");
  // Rewritten already: between two runs there is nothing to conclude from.
  if (image !== originalImage) return outcome;
  const current = currentOf(pod, container);
  switch (current.type) {
    case "awaiting":
    case "coming":
      return outcome;
    case "over":
      return failed("ContainerNotRunning", `container ${container} cannot be restarted: ${current.why}`);
    case "running":
    case "restarting": {
      // Another run that began since is the one that was armed for: whatever ended the last one.
      const isAnother = current.containerID !== restore.status?.containerID;
      if (current.type === "running" && isAnother && isSince(current.startedAt, armed.lastTransitionTime)) {
        return outcome;
      }
      const equal = equalReference(image, statusOf(pod, container)?.imageID);
      return equal === undefined ? outcome : { type: "rewrite", container, image: equal };
    }
    default:
      return current satisfies never;
  }
}

/** Both are the node's times; when a container began is told in whole seconds. */
const isSince = (startedAt: string, time: string): boolean =>
  Date.parse(startedAt) >= Math.floor(Date.parse(time) / 1000) * 1000;

const toldError = ({ reason, message }: { reason: string; message: string }): KcrError =>
  new KcrError(reason in ERRORS ? (reason as ErrorCode) : "RestoreFailed", message);

/** Strategy Image: the restore controller does it, and the container's record tells. */
function whileSwapping(restore: CheckpointRestore, world: DemandWorld): DemandDecision {
  const found = restoredContainer(restore, world);
  if (found instanceof KcrError) return { type: "fail", error: found };
  const { checkpointName } = restore.spec;
  const checkpoint = world.named(checkpointName);
  const record = readRecords(found.pod)[found.container];
  const condition = found.pod.status?.conditions?.find((c) => c.type === POD_RESTORED);
  const outcome = waiting("RestoreInProgress", condition?.message ?? "the container has not restarted");
  if (record?.restore !== undefined) return outcome;
  if (record === undefined || record.containerID === restore.status?.containerID) {
    if (checkpoint !== undefined && isGood(checkpoint)) return outcome;
    return failed("CheckpointNotGood", `Checkpoint ${checkpointName} is no longer good`);
  }
  if (record.parent === checkpointName) return { type: "complete", checkpoint };
  const runs = record.parent === undefined ? "its original image" : `Checkpoint ${record.parent}`;
  return failed("RestoreFailed", `container ${found.container} runs from ${runs} instead`);
}
