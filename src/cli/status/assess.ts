import type { Checkpoint } from "../../api/checkpoint.ts";
import { findCondition } from "../../api/conditions.ts";
import { type Cadence, parseCron } from "../../api/cron.ts";
import { isGood } from "../../api/kinds.ts";
import { SCHEDULE_ANNOTATION } from "../../api/labels.ts";
import { containersOf, defaultContainer, isRunning, RESTORED } from "../../api/pod.ts";
import { DEFAULT_TIMEOUT_SECONDS } from "../../api/request.ts";
import type { CheckpointSchedule } from "../../api/schedule.ts";
import { matches } from "../../api/selector.ts";
import { controllerOf, isOwnedBy } from "../../kube/owner.ts";
import type { Pod } from "../../kube/resources.ts";
import type { Workload } from "../objects/pods.ts";

/** What a namespace, or all of them, holds that says whether all is well. */
export interface Surroundings {
  now: Date;
  schedules: readonly CheckpointSchedule[];
  pods: readonly Pod[];
  checkpoints: readonly Checkpoint[];
  /** Those that carry the annotation. */
  workloads: readonly Workload[];
}

/** Something that is not as it should be: a code of ours, or the reason of a condition. */
export interface Problem {
  code: string;
  message: string;
}

export type Health = "Problem" | "Suspended" | "Waiting" | "OK";

/** How one protected workload is. */
export interface Assessment {
  namespace: string;
  /** Kind and name of what is protected: the workload, or a schedule that nobody's annotation made. */
  kind: string;
  name: string;
  /** The schedule's name; absent where the annotation has made none. */
  schedule?: string;
  labels: Readonly<Record<string, string>>;
  expression: string;
  timeZone: string;
  health: Health;
  problems: Problem[];
  /** When the good checkpoint was taken that the worst container would go back to, RFC 3339. */
  lastGood?: string;
  nextRun?: string;
  /** Runtime, Image, None, or Never for a schedule that restores nothing. */
  strategy?: string;
  lastRestore?: { time: string; checkpoint: string };
  pods: number;
  /** Good ones, of any age. */
  goodCheckpoints: number;
}

/** A slot that the operator has let pass by so long was forgotten, in milliseconds. */
const STALLED_MS = 60_000;
const RANK: Record<Health, number> = { Problem: 0, Suspended: 1, Waiting: 2, OK: 3 };

/** Every protected workload, problems first. */
export function assess(around: Surroundings): Assessment[] {
  const of = around.schedules
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .map((schedule) => assessSchedule(schedule, around));
  const without = around.workloads
    .filter((workload) => !around.schedules.some((schedule) => isOwnedBy(schedule, workload)))
    .map(assessUnmade);
  return [...of, ...without].sort(
    (a, b) =>
      RANK[a.health] - RANK[b.health] ||
      compare(a.namespace, b.namespace) ||
      compare(a.name, b.name) ||
      compare(a.kind, b.kind),
  );
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** A container that a schedule captures, and what it would go back to. */
interface Captured {
  pod: Pod;
  container: string;
  lastGood: Checkpoint | undefined;
}

function assessSchedule(schedule: CheckpointSchedule, around: Surroundings): Assessment {
  const { metadata, spec, status } = schedule;
  const { namespace = "", name } = metadata;
  const owner = controllerOf(schedule);
  const own = around.checkpoints.filter(
    (c) => c.metadata.namespace === namespace && c.spec.checkpointScheduleRef?.name === name,
  );
  const pods = around.pods.filter(
    (pod) => pod.metadata.namespace === namespace && matches(spec.selector, pod.metadata.labels),
  );
  const captured = capturedBy(schedule, pods, around.checkpoints);
  const cadence = cadenceOf(schedule);
  const suspended = spec.suspend === true;
  const problems = [
    ...conditionProblems(schedule),
    ...(suspended || cadence === undefined ? [] : lateProblems(schedule, captured, cadence, around.now)),
    ...restoreProblems(pods, captured),
  ];
  const newest = captured.map(({ lastGood }) => lastGood?.spec.checkpointTimestamp);
  const lastGood = newest.includes(undefined) ? undefined : newest.toSorted()[0];
  const workload = around.workloads.find((one) => isOwnedBy(schedule, one));
  const isNew = captured.length > 0 && lastGood === undefined;
  return {
    namespace,
    kind: owner?.kind ?? schedule.kind ?? "CheckpointSchedule",
    name: owner?.name ?? name,
    schedule: name,
    labels: (workload ?? schedule).metadata.labels ?? {},
    expression: spec.schedule,
    timeZone: spec.timeZone ?? "UTC",
    health: problems.length > 0 ? "Problem" : suspended ? "Suspended" : isNew ? "Waiting" : "OK",
    problems,
    lastGood: captured.length === 0 ? status?.lastSuccessfulTime : lastGood,
    nextRun: suspended ? undefined : status?.nextRunTime,
    strategy: strategyOf(schedule),
    lastRestore: lastRestore([...own, ...around.checkpoints.filter((c) => isOf(c, pods))]),
    pods: pods.length,
    goodCheckpoints: own.filter(isGood).length,
  };
}

const isOf = (checkpoint: Checkpoint, pods: readonly Pod[]): boolean =>
  pods.some(
    ({ metadata }) => metadata.uid !== undefined && metadata.uid === checkpoint.status?.lineage?.podUID,
  );

/** What one slot captures, as the operator chooses it, with the newest good Checkpoint of each container. */
function capturedBy(
  { spec }: CheckpointSchedule,
  pods: readonly Pod[],
  checkpoints: readonly Checkpoint[],
): Captured[] {
  const running = pods.filter(isRunning).toSorted((a, b) => compare(a.metadata.name, b.metadata.name));
  const chosen = spec.pods === "One" ? running.slice(0, 1) : running;
  return chosen.flatMap((pod) => {
    const there = containersOf(pod).map((c) => c.name);
    const names = spec.containers ?? [defaultContainer(pod) ?? ""];
    const good = checkpoints.filter((c) => isGood(c) && c.status?.lineage?.podUID === pod.metadata.uid);
    return names
      .filter((container) => there.includes(container))
      .map((container) => ({
        pod,
        container,
        lastGood: good
          .filter((c) => c.spec.containerName === container)
          .toSorted((a, b) => compare(b.spec.checkpointTimestamp, a.spec.checkpointTimestamp))[0],
      }));
  });
}

function cadenceOf({ spec }: CheckpointSchedule): Cadence | undefined {
  try {
    return parseCron(spec.schedule, spec.timeZone);
  } catch {
    // The schedule's own condition says so.
    return undefined;
  }
}

function conditionProblems({ status }: CheckpointSchedule): Problem[] {
  return ["Ready", "Succeeding", "Strategy"].flatMap((type) => {
    const condition = findCondition(status?.conditions, type);
    return condition?.status === "False" ? [{ code: condition.reason, message: condition.message }] : [];
  });
}

/**
 * Containers without a good checkpoint since the newest slot that has had its time, and a schedule whose next slot
 * is past already.
 */
function lateProblems(
  schedule: CheckpointSchedule,
  captured: readonly Captured[],
  cadence: Cadence,
  now: Date,
): Problem[] {
  const { spec, status, metadata } = schedule;
  const next = Date.parse(status?.nextRunTime ?? "");
  if (next < now.getTime() - STALLED_MS) {
    return [
      {
        code: "ScheduleStalled",
        message: `the slot of ${status?.nextRunTime} has passed and nothing was done`,
      },
    ];
  }
  const decided = new Date(now.getTime() - (spec.timeoutSeconds ?? DEFAULT_TIMEOUT_SECONDS) * 1000);
  const late = captured.filter(({ pod, lastGood }) => {
    const begun = [metadata.creationTimestamp, pod.status?.startTime].map((time) => Date.parse(String(time)));
    const since = new Date(Math.max(...begun.filter((time) => !Number.isNaN(time)), 0));
    const slot = cadence.latest(since, decided);
    return slot !== undefined && !(Date.parse(lastGood?.spec.checkpointTimestamp ?? "") >= slot.getTime());
  });
  const [first] = late;
  if (first === undefined) return [];
  const what = `container ${first.container} of pod ${first.pod.metadata.name}`;
  const more = late.length > 1 ? ` and ${late.length - 1} more` : "";
  return [{ code: "CheckpointLate", message: `${what}${more} has no good checkpoint of the last slot` }];
}

/** Pods that were not brought back, and have no good checkpoint since. */
function restoreProblems(pods: readonly Pod[], captured: readonly Captured[]): Problem[] {
  return pods.flatMap((pod) => {
    const condition = pod.status?.conditions?.find(({ type }) => type === RESTORED);
    if (condition?.status !== "False") return [];
    const since = String(condition.lastTransitionTime ?? "");
    const good = captured
      .filter((one) => one.pod === pod)
      .map((one) => one.lastGood?.spec.checkpointTimestamp);
    const isOver = good.length > 0 && good.every((time) => Date.parse(time ?? "") > Date.parse(since));
    if (isOver && condition.reason !== "RestoreRefused") return [];
    return [
      {
        code: condition.reason ?? "RestoreFailed",
        message: `pod ${pod.metadata.name}: ${condition.message}`,
      },
    ];
  });
}

function strategyOf({ spec, status }: CheckpointSchedule): string | undefined {
  if (spec.restore?.policy === "Never") return "Never";
  const condition = findCondition(status?.conditions, "Strategy");
  if (condition === undefined) return undefined;
  switch (condition.reason) {
    case "HandlerClass":
      return "Runtime";
    case "ImageRestore":
    case "ImageIfConfigured":
      return "Image";
    default:
      return "None";
  }
}

function lastRestore(checkpoints: readonly Checkpoint[]): Assessment["lastRestore"] {
  const [newest] = checkpoints
    .filter(({ status }) => status?.lastRestoredTime !== undefined)
    .toSorted((a, b) => compare(b.status?.lastRestoredTime ?? "", a.status?.lastRestoredTime ?? ""));
  const time = newest?.status?.lastRestoredTime;
  return newest === undefined || time === undefined ? undefined : { time, checkpoint: newest.metadata.name };
}

/** A workload whose annotation has become no schedule. */
function assessUnmade(workload: Workload): Assessment {
  const { metadata, kind = "", status } = workload;
  const told = status?.conditions?.find(({ type }) => type === "kcr.io/Protected");
  const problem =
    told?.status === "False"
      ? { code: told.reason ?? "ScheduleMissing", message: told.message ?? "" }
      : { code: "ScheduleMissing", message: "its annotation has become no CheckpointSchedule" };
  return {
    namespace: metadata.namespace ?? "",
    kind,
    name: metadata.name,
    labels: metadata.labels ?? {},
    expression: metadata.annotations?.[SCHEDULE_ANNOTATION] ?? "",
    timeZone: "UTC",
    health: "Problem",
    problems: [problem],
    pods: 0,
    goodCheckpoints: 0,
  };
}
