import type { Checkpoint } from "../../api/checkpoint.ts";
import { type ErrorCode, KcrError } from "../../api/errors.ts";
import { isGood, isPoisoned } from "../../api/kinds.ts";
import type { ContainerStatus } from "../../api/pod.ts";
import type { ContainerRecord } from "../../api/records.ts";

export interface RestoreInput {
  /** The container's image in the pod's spec. */
  specImage: string;
  restartPolicy: "Always" | "OnFailure" | "Never";
  status: ContainerStatus;
  record?: ContainerRecord;
  /** A schedule wants this container restored when it fails. */
  wanted: boolean;
  maxAttempts: number;
  fallback: "FreshStart" | "Fail";
  /** A restored run that lasted this long ran well. */
  stableMs: number;
  /** Candidates of a run, in the order in which they are tried, good or not. */
  lineage(run: number, parent: string | undefined): Checkpoint[];
  /** The Checkpoint whose image this is, or "unknown" for one that is gone. Undefined: an ordinary image. */
  checkpointOf(image: string): Checkpoint | "unknown" | undefined;
  /** How long the kubelet may take to end a run of the old image: the pod's termination grace period. */
  graceMs: number;
  /** Whether the status was made by a kubelet that had seen the pod's spec as it is now. */
  caughtUp: boolean;
  /** Why the pod cannot be given a checkpoint image on its node, if so; "unknown" while that is being found out. */
  obstacle(): KcrError | "unknown" | undefined;
}

export type RestoreDecision =
  | { type: "nothing"; againMs?: number }
  /** Only the record changes: what runs now is what counts. */
  | { type: "settle"; record: ContainerRecord; outcome: Outcome }
  /** The container gets another image, and with it a restart. */
  | {
      type: "swap";
      image: string;
      record: ContainerRecord;
      to?: Checkpoint;
      poisoned?: Checkpoint;
      why: KcrError | undefined;
    }
  /** A restore is wanted and cannot be: the pod stays as it is. */
  | { type: "blocked"; error: KcrError; againMs: number };

export type Outcome =
  | { type: "restored"; checkpoint: string }
  /** Started from the original image, after a clean end or because somebody wanted it so. */
  | { type: "fresh" }
  /** Started from the original image because nothing could be restored. */
  | { type: "lost"; error: KcrError };

const SECOND = 1000;
/** A container that cannot be created counts as crashed this often: the kubelet tries again about so often. */
const CREATE_RETRY_MS = 10 * SECOND;
/** How long a pull that fails after the image was given is waited for, before the original image returns. */
const PULL_PATIENCE_MS = 120 * SECOND;
/** How long a restore is put off for an obstacle that may pass; then the container that runs is what counts. */
const OBSTACLE_PATIENCE_MS = 300 * SECOND;
const LOOK_AGAIN_MS = 5 * SECOND;
const MOMENT_MS = 5 * SECOND;

const PULL_ERRORS = new Set([
  "ErrImagePull",
  "ImagePullBackOff",
  "RegistryUnavailable",
  "ErrImageNeverPull",
  "InvalidImageName",
]);
const CREATE_ERRORS = new Set(["CreateContainerError", "CreateContainerConfigError", "RunContainerError"]);
/** Obstacles that nothing but a change of the pod removes. */
const PERMANENT: ReadonlySet<ErrorCode> = new Set(["ImagePullPolicyNever", "StrategyUnavailable"]);

type Terminated = NonNullable<NonNullable<ContainerStatus["state"]>["terminated"]>;

/** What has ended since the newest decided run. */
interface End {
  /** How many runs ended. */
  runs: number;
  /** How the last of them ended, if that run is known to be it. */
  terminated?: Terminated;
}

function endOf(status: ContainerStatus, run: number): End | undefined {
  const { state, lastState, restartCount } = status;
  // The count began anew: the runtime has forgotten the container, and with it how its run ended.
  if (restartCount < run) return state?.running === undefined ? undefined : { runs: 1 };
  if (state?.terminated !== undefined) return { runs: restartCount - run + 1, terminated: state.terminated };
  if (state?.running !== undefined) {
    return restartCount > run ? { runs: restartCount - run, terminated: lastState?.terminated } : undefined;
  }
  return lastState?.terminated === undefined
    ? undefined
    : { runs: restartCount - run + 1, terminated: lastState.terminated };
}

const lifetimeMs = (t: Terminated): number => {
  const ms = Date.parse(String(t.finishedAt ?? "")) - Date.parse(String(t.startedAt ?? ""));
  return Number.isFinite(ms) ? ms : 0;
};

/**
 * What is done about one container of a pod, from what the API server says alone.
 *
 * Flow: a run ends -> (clean end: fresh start) or the first good candidate of its lineage becomes the
 * container's image -> a run of that image settles it. With a candidate that crashes at once `maxAttempts`
 * times the next one follows, at last the original image.
 * Guarantees: only good Checkpoints of the run's own lineage; the original image is recorded before it is
 * replaced; runs between a crash and its restore never count as state; an end is decided about once.
 */
export function decideRestore(input: RestoreInput, now: Date): RestoreDecision {
  const { status, specImage } = input;
  const standing = input.checkpointOf(specImage);
  let record = input.record ?? firstRecord(specImage, standing);
  const underWay = record.restore;

  if (underWay !== undefined && underWay.image === specImage) {
    const arrived = hasArrived(input, underWay, now);
    const settled: ContainerRecord = {
      originalImage: record.originalImage,
      run: status.restartCount,
      crashes: underWay.checkpoint === record.parent ? record.crashes : 0,
      ...(underWay.checkpoint === undefined ? {} : { parent: underWay.checkpoint }),
    };
    if (arrived && status.state?.running !== undefined) {
      const outcome: Outcome =
        underWay.checkpoint === undefined
          ? { type: "fresh" }
          : { type: "restored", checkpoint: underWay.checkpoint };
      return { type: "settle", record: settled, outcome };
    }
    const waiting = status.state?.waiting?.reason ?? "";
    const elapsed = now.getTime() - Date.parse(underWay.startedTime);
    if (PULL_ERRORS.has(waiting) && underWay.checkpoint !== undefined) {
      const error = new KcrError("ImagePullFailed", `the node cannot pull ${specImage} (${waiting})`);
      if (elapsed < PULL_PATIENCE_MS) return { type: "blocked", error, againMs: LOOK_AGAIN_MS };
      return toOriginal(record, status, now, error);
    }
    if (CREATE_ERRORS.has(waiting) && underWay.checkpoint !== undefined) {
      const attempts = 1 + Math.floor(elapsed / CREATE_RETRY_MS);
      if (attempts < input.maxAttempts) return { type: "nothing", againMs: LOOK_AGAIN_MS };
      const failed = typeof standing === "object" ? standing : undefined;
      const last: ContainerRecord = { ...settled, run: record.run, crashes: attempts };
      return afterFailure(input, last, failed, now);
    }
    if (!arrived || endOf(status, status.restartCount) === undefined) {
      return { type: "nothing", againMs: LOOK_AGAIN_MS };
    }
    record = settled;
  } else if (specImage !== record.originalImage && standing === undefined) {
    // Somebody gave the container another image: what it runs from now on is theirs.
    return {
      type: "settle",
      record: { originalImage: specImage, run: status.restartCount, crashes: 0 },
      outcome: { type: "fresh" },
    };
  } else if (underWay !== undefined) {
    // The image under way was taken back by somebody.
    const { restore: _, ...rest } = record;
    record = rest;
  }

  const end = endOf(status, record.run);
  // A kubelet that is just about to start the next run must not be overtaken: it would start it from the old
  // image, and that run could be taken for the restored one. It soon runs, or waits in its back-off.
  if (end === undefined || status.state?.terminated !== undefined) return { type: "nothing" };
  const clean = isClean(end, record);
  if (input.restartPolicy === "Never" || (clean && input.restartPolicy === "OnFailure"))
    return { type: "nothing" };
  if (clean || !input.wanted) {
    if (standing !== undefined) return toOriginal(record, status, now, undefined);
    return freshOnceRunning(record, status, { type: "fresh" });
  }

  const quick = end.terminated === undefined || lifetimeMs(end.terminated) < input.stableMs;
  const crashes = record.parent !== undefined && quick ? record.crashes + end.runs : 0;
  const failed =
    crashes >= input.maxAttempts
      ? input.lineage(record.run, record.parent).find((c) => c.metadata.name === record.parent)
      : undefined;
  return afterFailure(input, { ...record, crashes }, failed, now);
}

/**
 * Whether the container's newest run is of the image under way. A restored container's status names its base
 * image, so the image cannot tell: the run's number and the generation that the kubelet has seen do. Where that
 * number is unsure, a run of the old image would have been ended within the grace period.
 */
function hasArrived(
  { status, caughtUp, graceMs }: RestoreInput,
  { after, unsure = false }: NonNullable<ContainerRecord["restore"]>,
  now: Date,
): boolean {
  if (!caughtUp) return false;
  const runs = status.restartCount - after;
  if (!unsure || runs !== 1) return runs > 0;
  const began = status.state?.running?.startedAt;
  return began !== undefined && now.getTime() - Date.parse(String(began)) > graceMs + LOOK_AGAIN_MS;
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
  const lineage = input.lineage(record.run, record.parent);
  const next = lineage.find(
    (c) => c !== poisoned && isGood(c) && !isPoisoned(c) && c.status?.runtimeImage !== undefined,
  );

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
      return { ...toOriginal(record, status, now, error), ...(poisoned === undefined ? {} : { poisoned }) };
    }
    return freshOnceRunning(record, status, { type: "lost", error });
  }

  const image = next.status?.runtimeImage ?? "";
  if (image === specImage) {
    // The kubelet restores it again by itself.
    if (status.state?.running === undefined) return { type: "nothing" };
    return {
      type: "settle",
      record: { ...record, run: status.restartCount, parent: next.metadata.name },
      outcome: { type: "restored", checkpoint: next.metadata.name },
    };
  }

  const obstacle = input.obstacle();
  if (obstacle === "unknown") return { type: "nothing", againMs: 250 };
  if (obstacle !== undefined) {
    const began = status.state?.running?.startedAt;
    const waited = began === undefined ? 0 : now.getTime() - Date.parse(String(began));
    if (PERMANENT.has(obstacle.code) || waited > OBSTACLE_PATIENCE_MS) {
      return freshOnceRunning(record, status, { type: "lost", error: obstacle });
    }
    return { type: "blocked", error: obstacle, againMs: LOOK_AGAIN_MS };
  }
  return {
    type: "swap",
    image,
    to: next,
    poisoned,
    why: undefined,
    record: {
      ...record,
      restore: {
        checkpoint: next.metadata.name,
        image,
        ...startOf(status, now),
      },
    },
  };
}

const startOf = (status: ContainerStatus, now: Date) => ({
  after: status.restartCount,
  startedTime: now.toISOString(),
  ...(status.state?.running === undefined ? { unsure: true } : {}),
});

/**
 * Whether the program ended of its own will. A restored run that ended within moments may as well have been
 * ended by the kubelet (which then restores once more): when in doubt, the state is kept.
 */
function isClean({ runs, terminated }: End, record: ContainerRecord): boolean {
  if (runs !== 1 || terminated?.exitCode !== 0) return false;
  return record.parent === undefined || lifetimeMs(terminated) >= MOMENT_MS;
}

function firstRecord(specImage: string, standing: Checkpoint | "unknown" | undefined): ContainerRecord {
  const base = typeof standing === "object" ? standing.status?.baseImage : undefined;
  return { originalImage: base ?? specImage, run: 0, crashes: 0 };
}

function toOriginal(
  record: ContainerRecord,
  status: ContainerStatus,
  now: Date,
  why: KcrError | undefined,
): Extract<RestoreDecision, { type: "swap" }> {
  const image = record.originalImage;
  const restore = { image, ...startOf(status, now) };
  return { type: "swap", image, record: { ...record, restore }, why };
}

/** The original image stands in the spec: what it starts is a new tree, once it runs. */
function freshOnceRunning(
  record: ContainerRecord,
  status: ContainerStatus,
  outcome: Outcome,
): RestoreDecision {
  if (status.state?.running === undefined) return { type: "nothing" };
  return {
    type: "settle",
    record: { originalImage: record.originalImage, run: status.restartCount, crashes: 0 },
    outcome,
  };
}
