import type { Checkpoint } from "../../api/checkpoint.ts";
import { RESTORABLE } from "../../api/checkpoint.ts";
import { findCondition } from "../../api/conditions.ts";
import { type ErrorCode, KcrError } from "../../api/errors.ts";
import { isGood, isPoisoned } from "../../api/kinds.ts";
import { originOf } from "../../api/lineage.ts";
import { type ContainerStatus, runtimeID } from "../../api/pod.ts";
import type { ContainerRecord } from "../../api/records.ts";
import { equalReference } from "./reference.ts";

export interface RestoreInput {
  podUID: string;
  /** The container's image in the pod's spec. */
  specImage: string;
  restartPolicy: "Always" | "OnFailure" | "Never";
  status: ContainerStatus;
  record?: ContainerRecord;
  /** A schedule wants this container restored when it fails. */
  wanted: boolean;
  /** A person wants it to go back to that Checkpoint, in place of the run with that container ID. */
  asked?: { checkpoint: Checkpoint; replaces: string };
  maxAttempts: number;
  fallback: "FreshStart" | "Fail";
  /** A restored run that lasted this long ran well. */
  stableMs: number;
  /** Whether the kubelet may end the container by itself (probes, resize): exit code 0 then says nothing. */
  kubeletMayRestart: boolean;
  /** How long the kubelet may take to end a run of the old image: the pod's termination grace period. */
  graceMs: number;
  /** Whether the status was made by a kubelet that had seen the pod's spec as it is now. */
  caughtUp: boolean;
  /** Candidates of the record's run, in the order in which they are tried, good or not. */
  lineage(record: ContainerRecord): Checkpoint[];
  /** The Checkpoint of that name in the pod's namespace. */
  named(checkpoint: string): Checkpoint | undefined;
  /** What a container's image becomes to restore the Checkpoint; undefined when it has no image. */
  imageOf(checkpoint: Checkpoint): string | undefined;
  /** The Checkpoint whose image this is, or "unknown" for one that is gone. Undefined: an ordinary image. */
  checkpointOf(image: string): Checkpoint | "unknown" | undefined;
  /** Why the pod cannot be given a checkpoint image on its node, if so; "unknown" while that is being found out. */
  obstacle(): KcrError | "unknown" | undefined;
}

export type RestoreDecision =
  | { type: "nothing"; againMs?: number }
  /** Only the record changes, and nobody needs to hear of it. */
  | { type: "note"; record: ContainerRecord }
  /** Only the record changes: what runs now is what counts. */
  | { type: "settle"; record: ContainerRecord; outcome: Outcome }
  /** The container gets another image, and with it a restart. */
  | {
      type: "swap";
      image: string;
      record: ContainerRecord;
      to?: Checkpoint;
      poisoned?: Checkpoint;
      why?: KcrError;
      /** A person wanted it so: nothing has failed. */
      asked?: boolean;
    }
  /** A restore is wanted and cannot be, for now: the pod stays as it is. */
  | { type: "blocked"; error: KcrError; againMs: number };

export type Outcome =
  | { type: "restored"; checkpoint: string }
  /** Started from the original image, after a clean end or because somebody wanted it so. */
  | { type: "fresh" }
  /** Started from the original image because nothing could be restored. */
  | { type: "lost"; error: KcrError };

const SECOND = 1000;
/** A container that cannot be created counts as one more attempt this often: the kubelet tries about so often. */
const CREATE_RETRY_MS = 10 * SECOND;
/** How long a pull that fails is waited for, before the next candidate is tried. */
const PULL_PATIENCE_MS = 120 * SECOND;
/**
 * How long a container that came up by itself after a crash may be taken away again for a restore. Later, what
 * it has done since is worth as much: it is what counts.
 */
const RESTORE_PATIENCE_MS = 300 * SECOND;
/** How long a checkpoint that is still being pushed is waited for when an older one could be restored. */
const PUSH_PATIENCE_MS = 60 * SECOND;
const LOOK_AGAIN_MS = 5 * SECOND;
const MOMENT_MS = 5 * SECOND;
/** Of `passedOver`: as the record allows. */
const MAX_PASSED_OVER = 64;

const PULL_ERRORS = new Set([
  "ErrImagePull",
  "ImagePullBackOff",
  "RegistryUnavailable",
  "ErrImageNeverPull",
  "InvalidImageName",
]);
/** A container was created and could not be started; with other errors there is none. */
const RUN_ERROR = "RunContainerError";
const CREATE_ERRORS = new Set(["CreateContainerError", RUN_ERROR]);
/** What a runtime says that takes a checkpoint image for an ordinary one: there is nothing in it to run. */
const RUN_AS_ORDINARY = /no such file or directory|executable file not found|no command specified/;
/** Obstacles that nothing but a change of the pod removes. */
const PERMANENT: ReadonlySet<ErrorCode> = new Set(["ImagePullPolicyNever", "StrategyUnavailable"]);

type Terminated = NonNullable<NonNullable<ContainerStatus["state"]>["terminated"]>;
type Restore = NonNullable<ContainerRecord["restore"]>;

const idOf = (status: ContainerStatus): string => runtimeID(status.containerID) ?? "";
const isRunning = (status: ContainerStatus): boolean => status.state?.running !== undefined;
const since = (time: string | Date | undefined, now: Date): number =>
  time === undefined ? 0 : now.getTime() - Date.parse(String(time));

/** What has ended since the newest decided run. */
interface End {
  /** How many runs ended, at least 1. */
  runs: number;
  /** The last end that is known. */
  last?: Terminated;
  /** Whether that is the end of the decided run itself. */
  exact: boolean;
}

/** Nothing while the kubelet is about to start the next run: it soon runs, or waits in its back-off. */
function endOf(status: ContainerStatus, record: ContainerRecord): End | undefined {
  const { state, lastState, restartCount } = status;
  const last = lastState?.terminated;
  if (isRunning(status)) {
    if (idOf(status) === record.containerID) return undefined;
    return {
      runs: Math.max(1, restartCount - record.run),
      last,
      exact: runtimeID(last?.containerID) === record.containerID,
    };
  }
  if (state?.terminated !== undefined || last === undefined) return undefined;
  return {
    runs: Math.max(1, restartCount - record.run + 1),
    last,
    exact: runtimeID(last.containerID) === record.containerID,
  };
}

const lifetimeMs = (t: Terminated): number => {
  const ms = Date.parse(String(t.finishedAt ?? "")) - Date.parse(String(t.startedAt ?? ""));
  return Number.isFinite(ms) ? ms : 0;
};
const isQuick = (last: Terminated | undefined, stableMs: number): boolean =>
  last === undefined || lifetimeMs(last) < stableMs;

/**
 * What is done about one container of a pod, from what the API server says alone.
 *
 * Flow: a run ends -> (clean end: fresh start) or the first good candidate of its lineage becomes the
 * container's image -> a run of that image settles it. What a person asks for goes the same way, without an end
 * before it and whatever Checkpoint it is. With a candidate that crashes at once `maxAttempts`
 * times, or cannot be created, the next one follows, at last the original image.
 * Guarantees: only good Checkpoints of the run's own lineage and of its own base image; the original image is
 * recorded before it is replaced; runs between a crash and its restore never count as state, unless they ran
 * for longer than RESTORE_PATIENCE_MS; an end is decided about once.
 */
export function decideRestore(given: RestoreInput, now: Date): RestoreDecision {
  const { status, specImage } = given;
  const input: RestoreInput = {
    ...given,
    // Known by the record even after the place of images was changed in the settings.
    checkpointOf: (image) =>
      given.checkpointOf(image) ?? (image === given.record?.parentImage ? "unknown" : undefined),
  };
  const standing = input.checkpointOf(specImage);
  let { record } = input;

  if (record === undefined) {
    if (status.state?.terminated !== undefined || idOf(status) === "") return { type: "nothing" };
    record = firstRecord(input, standing);
    // What runs when it is first seen is what counts: whatever came before is not known.
    if (isRunning(status)) return { type: "note", record };
  }

  const underWay = record.restore;
  if (underWay !== undefined && underWay.image === specImage) {
    const next = whileUnderWay(input, record, underWay, now);
    if (next.type !== "ended") return next;
    return afterEnd(input, next.record, next.end, now);
  }
  if (specImage !== record.originalImage && standing === undefined) {
    return imageOfSomebody(input, record, now);
  }
  if (underWay !== undefined) {
    // The image under way was taken back by somebody.
    const { restore: _, ...rest } = record;
    record = rest;
  }
  const { asked } = input;
  if (asked !== undefined && asked.replaces === record.containerID) {
    return goBack(input, record, asked.checkpoint, now);
  }
  const end = endOf(status, record);
  return end === undefined ? { type: "nothing" } : afterEnd(input, record, end, now);
}

/** A change of the image that was decided: settled by a run of it, given up, or its run has ended already. */
function whileUnderWay(
  input: RestoreInput,
  record: ContainerRecord,
  underWay: Restore,
  now: Date,
): RestoreDecision | { type: "ended"; record: ContainerRecord; end: End } {
  const { status, specImage, maxAttempts } = input;
  const { checkpoint } = underWay;
  const waiting = status.state?.waiting?.reason ?? "";
  const note = (restore: Restore): RestoreDecision => ({ type: "note", record: { ...record, restore } });

  const isNew = idOf(status) !== underWay.replaces && idOf(status) !== "";
  /** Restart count of the first run that is surely of the image under way. */
  const first = underWay.after + (underWay.unsure === true ? 2 : 1);
  const sure =
    status.restartCount >= first ||
    // The count began anew, or one more run of the old image would have been ended by now.
    status.restartCount < underWay.after ||
    since(status.state?.running?.startedAt, now) > input.graceMs + LOOK_AGAIN_MS ||
    underWay.unsure !== true;

  // A container that exists and cannot be run may still be the old one, of the old image.
  const isOfOld = waiting === RUN_ERROR && !(isNew && sure);
  if (checkpoint !== undefined && !isOfOld && (PULL_ERRORS.has(waiting) || CREATE_ERRORS.has(waiting))) {
    const what = PULL_ERRORS.has(waiting) ? "Pull" : "Create";
    // One that was pulled with trouble is not therefore one that cannot be created. Older records do not say.
    if (underWay.failingSince === undefined || (underWay.failing ?? what) !== what) {
      return note({ ...underWay, failing: what, failingSince: now.toISOString() });
    }
    const failing = since(underWay.failingSince, now);
    const message = status.state?.waiting?.message ?? "";
    if (what === "Pull") {
      const error = new KcrError("ImagePullFailed", `the node cannot pull ${specImage} (${waiting})`);
      if (failing < PULL_PATIENCE_MS) return { type: "blocked", error, againMs: LOOK_AGAIN_MS };
      return afterFailure(input, passOver(record, checkpoint), undefined, now);
    }
    // Of one that does not exist the kubelet may for a moment still say why the old image's could not be made.
    const current = waiting === RUN_ERROR || failing >= CREATE_RETRY_MS;
    if (current && RUN_AS_ORDINARY.test(message)) return runAsOrdinary(record, status, message, now);
    if (failing < maxAttempts * CREATE_RETRY_MS) return { type: "nothing", againMs: LOOK_AGAIN_MS };
    return afterFailure(input, passOver(record, checkpoint), undefined, now);
  }
  if (!input.caughtUp) return { type: "nothing", againMs: LOOK_AGAIN_MS };

  if (!isNew) {
    // A kubelet that saw the new image while the old run was down starts nothing of the old one any more.
    if (underWay.unsure === true && !isRunning(status) && status.state?.terminated === undefined) {
      return note({ ...underWay, unsure: false });
    }
    // An ordinary image that was already running when it was taken for a change never gets another run.
    const late = since(underWay.startedTime, now) > input.graceMs + LOOK_AGAIN_MS;
    if (checkpoint === undefined && isRunning(status) && late) {
      return { type: "settle", record: settled(input, record, underWay, 0), outcome: { type: "fresh" } };
    }
    return { type: "nothing", againMs: LOOK_AGAIN_MS };
  }

  if (!sure) return { type: "nothing", againMs: LOOK_AGAIN_MS };

  const { stableMs } = input;
  const last = status.lastState?.terminated;
  const before = Math.max(0, status.restartCount - first);
  if (isRunning(status)) {
    const outcome: Outcome = checkpoint === undefined ? { type: "fresh" } : { type: "restored", checkpoint };
    const crashes = before > 0 && isQuick(last, stableMs) ? before : 0;
    return { type: "settle", record: settled(input, record, underWay, crashes), outcome };
  }
  if (status.state?.terminated !== undefined || last === undefined) {
    return { type: "nothing", againMs: LOOK_AGAIN_MS };
  }
  if (checkpoint !== undefined && last.reason === "StartError") {
    if (RUN_AS_ORDINARY.test(last.message ?? ""))
      return runAsOrdinary(record, status, last.message ?? "", now);
    if (before + 1 >= maxAttempts) return afterFailure(input, passOver(record, checkpoint), undefined, now);
    return { type: "nothing", againMs: LOOK_AGAIN_MS };
  }
  const begun = { ...settled(input, record, underWay, 0), passedOver: record.passedOver };
  return { type: "ended", record: begun, end: { runs: before + 1, last, exact: false } };
}

/** The record once a run of the image under way is what counts. */
function settled(
  input: RestoreInput,
  record: ContainerRecord,
  { checkpoint, image }: Restore,
  crashes: number,
): ContainerRecord {
  const { status } = input;
  const { podUID, originalImage } = record;
  const base = { podUID, originalImage, run: status.restartCount, containerID: idOf(status) };
  if (checkpoint === undefined) return { ...base, crashes: 0 };
  return {
    ...base,
    parent: checkpoint,
    parentImage: image,
    parentOrigin:
      originOf(input.named(checkpoint)) ?? (checkpoint === record.parent ? record.parentOrigin : undefined),
    crashes: (checkpoint === record.parent ? record.crashes : 0) + crashes,
  };
}

/** A run has ended: cleanly, unwanted, or in failure. */
function afterEnd(input: RestoreInput, record: ContainerRecord, end: End, now: Date): RestoreDecision {
  const { status, specImage, restartPolicy, wanted, stableMs, maxAttempts } = input;
  const standing = input.checkpointOf(specImage);
  const clean = isClean(input, record, end);
  if (restartPolicy === "Never" || (clean && restartPolicy === "OnFailure")) return { type: "nothing" };
  if (clean || !wanted) {
    if (standing !== undefined) return toOriginal(record, status, now, undefined);
    return freshOnceRunning(record, status, { type: "fresh" });
  }
  const crashes = record.parent !== undefined && isQuick(end.last, stableMs) ? record.crashes + end.runs : 0;
  const poisoned =
    crashes >= maxAttempts ? input.lineage(record).find((c) => c.metadata.name === record.parent) : undefined;
  return afterFailure(input, { ...record, crashes }, poisoned, now);
}

/**
 * Whether the program ended of its own will. Where the kubelet may have ended it (a probe, a resize, or moments
 * after a restore, when it ends what is left of the old image) exit code 0 says nothing: the state is kept.
 */
function isClean(input: RestoreInput, record: ContainerRecord, { runs, last, exact }: End): boolean {
  if (!exact || runs !== 1 || last?.exitCode !== 0) return false;
  if (input.kubeletMayRestart && input.restartPolicy === "Always") return false;
  return record.parent === undefined || lifetimeMs(last) >= MOMENT_MS;
}

/** A container failed: the next candidate, or the original image. `poisoned` is not tried again. */
function afterFailure(
  input: RestoreInput,
  record: ContainerRecord,
  poisoned: Checkpoint | undefined,
  now: Date,
): RestoreDecision {
  const { status, specImage } = input;
  const standing = input.checkpointOf(specImage);
  const lineage = input.lineage(record).filter((c) => fits(c, record));
  const { next, pending } = firstCandidate(lineage, record, poisoned, input);
  const ranOn = since(status.state?.running?.startedAt, now);

  if (pending !== undefined && ranOn < (next === undefined ? RESTORE_PATIENCE_MS : PUSH_PATIENCE_MS)) {
    const error = new KcrError(
      "CheckpointNotReady",
      `Checkpoint ${pending.metadata.name} is not in the registry yet`,
    );
    return { type: "blocked", error, againMs: SECOND };
  }
  if (next === undefined) {
    const error =
      lineage.length === 0
        ? new KcrError("NoCheckpoint", "the container failed and no checkpoint of it exists")
        : new KcrError(
            "RestoreFailed",
            `none of ${lineage.length} checkpoints of the container can be restored`,
          );
    if (standing !== undefined) {
      if (input.fallback === "Fail") return { type: "blocked", error, againMs: 60 * SECOND };
      return { ...toOriginal(record, status, now, error), poisoned };
    }
    return freshOnceRunning(record, status, { type: "lost", error });
  }

  const image = input.imageOf(next) ?? "";
  const stands = typeof standing === "object" && standing.metadata.name === next.metadata.name;
  if (image === specImage || stands) {
    // The kubelet restores it again by itself.
    if (!isRunning(status)) return { type: "nothing" };
    const again: Restore = {
      checkpoint: next.metadata.name,
      image: specImage,
      after: 0,
      replaces: "",
      startedTime: "",
    };
    const { crashes } = record;
    const parent = next.metadata.name;
    return {
      type: "settle",
      record: { ...settled(input, record, again, 0), crashes: parent === record.parent ? crashes : 0 },
      outcome: { type: "restored", checkpoint: parent },
    };
  }

  if (ranOn > RESTORE_PATIENCE_MS) {
    const error = new KcrError(
      "RestoreTooLate",
      "the container has run on by itself for too long to be taken back",
    );
    return freshOnceRunning(record, status, { type: "lost", error });
  }
  const obstacle = input.obstacle();
  if (obstacle === "unknown") return { type: "nothing", againMs: 250 };
  if (obstacle !== undefined) {
    if (PERMANENT.has(obstacle.code))
      return freshOnceRunning(record, status, { type: "lost", error: obstacle });
    return { type: "blocked", error: obstacle, againMs: LOOK_AGAIN_MS };
  }
  const checkpoint = next.metadata.name;
  return {
    type: "swap",
    image,
    to: next,
    poisoned,
    record: { ...record, restore: change(image, status, now, checkpoint) },
  };
}

/** A person asked for it, and was told whether it fits: its image, written so that the text differs. */
function goBack(input: RestoreInput, record: ContainerRecord, to: Checkpoint, now: Date): RestoreDecision {
  const { status, specImage } = input;
  const plain = input.imageOf(to);
  // Between two runs: the next one will tell.
  if (plain === undefined || status.state?.terminated !== undefined) {
    return { type: "nothing", againMs: LOOK_AGAIN_MS };
  }
  const obstacle = input.obstacle();
  if (obstacle === "unknown") return { type: "nothing", againMs: 250 };
  if (obstacle !== undefined) return { type: "blocked", error: obstacle, againMs: LOOK_AGAIN_MS };
  // Where its image stands already, the same text would not make the kubelet restart the container.
  const image = plain === specImage ? (equalReference(plain, plain) ?? plain) : plain;
  const restore = change(image, status, now, to.metadata.name);
  return { type: "swap", image, to, asked: true, record: { ...record, crashes: 0, restore } };
}

/**
 * Whether a Checkpoint that says it is of a pod can be: it was made on that pod's node, which a pod never leaves. What
 * an agent makes bears its own node, so that none can pass a Checkpoint off as another node's pod's.
 */
export const mayBeOf = (
  { metadata, spec }: Checkpoint,
  pod: { namespace: string | undefined; nodeName: string | undefined },
): boolean => metadata.namespace === pod.namespace && spec.nodeName === pod.nodeName;

/**
 * Of one container only the image can change: a checkpoint fits what runs the image that it was made of. What
 * the container was restored from did, by whatever name its image went there.
 */
const fits = (checkpoint: Checkpoint, record: ContainerRecord): boolean =>
  checkpoint.metadata.name === record.parent ||
  checkpoint.status?.baseImage === undefined ||
  checkpoint.status.baseImage === record.originalImage;

/** The first candidate that is good, and one before it that may still become so. */
function firstCandidate(
  lineage: readonly Checkpoint[],
  record: ContainerRecord,
  poisoned: Checkpoint | undefined,
  { imageOf }: RestoreInput,
): { next?: Checkpoint; pending?: Checkpoint } {
  let pending: Checkpoint | undefined;
  for (const c of lineage) {
    if (c === poisoned || isPoisoned(c) || record.passedOver?.includes(c.metadata.name)) continue;
    if (isGood(c) && imageOf(c) !== undefined) return { next: c, pending };
    const phase = c.status?.phase;
    const undecided = phase === undefined || phase === "Created" || phase === "Processing";
    if (
      undecided &&
      c.metadata.deletionTimestamp === undefined &&
      // By a copy on its node it may be good before it has an image.
      findCondition(c.status?.conditions, RESTORABLE)?.status !== "False"
    ) {
      pending ??= c;
    }
  }
  return { pending };
}

/** Somebody gave the container another image: what runs of it is theirs, and begins a new tree. */
function imageOfSomebody(input: RestoreInput, record: ContainerRecord, now: Date): RestoreDecision {
  const { status, specImage, podUID } = input;
  const { run, containerID } = record;
  const restore = change(specImage, status, now);
  return {
    type: "note",
    record: { podUID, originalImage: specImage, run, containerID, crashes: 0, restore },
  };
}

function firstRecord(input: RestoreInput, standing: Checkpoint | "unknown" | undefined): ContainerRecord {
  const { podUID, specImage, status } = input;
  const from = typeof standing === "object" ? standing : undefined;
  return {
    podUID,
    originalImage: from?.status?.baseImage ?? specImage,
    run: status.restartCount,
    containerID: idOf(status),
    crashes: 0,
    ...(from === undefined
      ? {}
      : { parent: from.metadata.name, parentImage: specImage, parentOrigin: originOf(from) }),
  };
}

/** The record with one more Checkpoint that is not tried for this run. */
export const passOver = (record: ContainerRecord, checkpoint: string): ContainerRecord => ({
  ...record,
  passedOver: [...(record.passedOver ?? []), checkpoint].slice(-MAX_PASSED_OVER),
});

/** The runtime takes a checkpoint image for an ordinary one: no candidate can do better, and none is to blame. */
function runAsOrdinary(
  record: ContainerRecord,
  status: ContainerStatus,
  said: string,
  now: Date,
): RestoreDecision {
  const error = new KcrError(
    "StrategyUnavailable",
    `the node's runtime does not restore from images: it ran one as an ordinary image (${said.slice(0, 200)})`,
  );
  return toOriginal(record, status, now, error);
}

function change(image: string, status: ContainerStatus, now: Date, checkpoint?: string): Restore {
  return {
    image,
    ...(checkpoint === undefined ? {} : { checkpoint }),
    after: status.restartCount,
    replaces: idOf(status),
    startedTime: now.toISOString(),
    ...(isRunning(status) ? {} : { unsure: true }),
  };
}

function toOriginal(
  record: ContainerRecord,
  status: ContainerStatus,
  now: Date,
  why: KcrError | undefined,
): Extract<RestoreDecision, { type: "swap" }> {
  const image = record.originalImage;
  return { type: "swap", image, record: { ...record, restore: change(image, status, now) }, why };
}

/** The original image stands in the spec: what it starts is a new tree, once it runs. */
function freshOnceRunning(
  record: ContainerRecord,
  status: ContainerStatus,
  outcome: Outcome,
): RestoreDecision {
  if (!isRunning(status)) return { type: "nothing" };
  const { podUID, originalImage } = record;
  return {
    type: "settle",
    record: { podUID, originalImage, run: status.restartCount, containerID: idOf(status), crashes: 0 },
    outcome,
  };
}
