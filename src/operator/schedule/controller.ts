import { isDeepStrictEqual } from "node:util";
import type { Checkpoint } from "../../api/checkpoint.ts";
import { setCondition } from "../../api/conditions.ts";
import { asKcrError, KcrError } from "../../api/errors.ts";
import { isGood, isTerminal, schedules } from "../../api/kinds.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import type { CheckpointSchedule, ScheduleStatus } from "../../api/schedule.ts";
import { clockChanges } from "../../kube/clock.ts";
import { again, Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import type { ObjectName } from "../../kube/resources.ts";
import { writeStatus } from "../../kube/write.ts";
import { BY_POD, BY_SCHEDULE, type Context } from "../context.ts";
import { podsOfSchedule, schedulesOfPod } from "../selection.ts";
import { decideSchedule, placeOf } from "./decide.ts";
import { ensureRequest } from "./requests.ts";
import { type Target, targetsOf } from "./targets.ts";

const READY = "Ready";
const SUCCEEDING = "Succeeding";
/** Schedules that are looked at at once. */
export const WORKERS = 4;

/**
 * CheckpointSchedule -> at each due slot a CheckpointRequest per container.
 *
 * Flow: what is due follows from spec and status; the requests are created first, then status.lastRunTime says
 * that the slot was decided; the next look is a delayed requeue.
 * Guarantees: killed between the two steps the slot is decided again, and the requests have the same names.
 */
export function scheduleController(context: Context): Controller {
  const { client, caches, recorder, tracer, log, now } = context;

  const reconcile = async ({ namespace, name }: ObjectName): Promise<Outcome> => {
    const schedule = caches.schedules.get(namespace, name);
    if (schedule === undefined || schedule.metadata.deletionTimestamp !== undefined) return done;
    const { spec, status } = schedule;
    const time = now();

    let decision: ReturnType<typeof decideSchedule>;
    try {
      decision = decideSchedule(
        {
          expression: spec.schedule,
          timeZone: spec.timeZone,
          suspend: spec.suspend === true,
          startingDeadlineSeconds: spec.startingDeadlineSeconds,
          createdTime: new Date(schedule.metadata.creationTimestamp ?? time),
          lastRunTime: status?.lastRunTime === undefined ? undefined : new Date(status.lastRunTime),
          place: placeOf(schedule.metadata.uid ?? ""),
        },
        time,
      );
    } catch (error) {
      const refused = asKcrError(error);
      await writeIfChanged(schedule, {
        nextRunTime: undefined,
        observedGeneration: schedule.metadata.generation,
        conditions: setCondition(
          status?.conditions,
          { type: READY, status: "False", reason: refused.code, message: refused.advice },
          time,
        ),
      });
      return done;
    }

    const targets = targetsOf(spec, podsOfSchedule(caches, schedule));
    if (decision.run !== undefined) {
      for (const target of targets) {
        if (spec.concurrencyPolicy !== "Allow" && isBusy(target)) {
          log.info(
            { schedule: `${namespace}/${name}`, pod: target.pod.metadata.name },
            "slot skipped: last request has not ended",
          );
          continue;
        }
        await ensureRequest(client, schedule, target, decision.run, tracer !== undefined);
      }
      if (targets.length === 0) {
        const none = new KcrError("NoMatchingPods", "no running pod matches the selector");
        recorder.record({
          regarding: schedule,
          type: "Warning",
          reason: none.code,
          action: "Schedule",
          note: none.advice,
        });
      }
    }
    if (decision.skipped !== undefined && spec.suspend !== true) {
      recorder.record({
        regarding: schedule,
        type: "Warning",
        reason: "SlotMissed",
        action: "Schedule",
        note: `the slot of ${decision.skipped.toISOString()} is later than startingDeadlineSeconds allows`,
      });
    }

    const ready =
      targets.length === 0
        ? {
            status: "False" as const,
            reason: "NoMatchingPods",
            message: "no running pod matches the selector",
          }
        : spec.suspend === true
          ? { status: "True" as const, reason: "Suspended", message: "no new checkpoints while suspended" }
          : { status: "True" as const, reason: "Scheduled", message: "checkpoints are taken as scheduled" };
    const checkpoints = caches.checkpoints.byIndex(BY_SCHEDULE, `${namespace}/${name}`);
    let conditions = setCondition(status?.conditions, { type: READY, ...ready }, time);
    const last = lastRequest(schedule);
    if (last !== undefined) conditions = setCondition(conditions, { type: SUCCEEDING, ...last }, time);
    await writeIfChanged(schedule, {
      lastRunTime: decision.lastRunTime?.toISOString(),
      nextRunTime: decision.nextRunTime.toISOString(),
      lastSuccessfulTime: newestGood(checkpoints) ?? status?.lastSuccessfulTime,
      observedGeneration: schedule.metadata.generation,
      conditions,
    });
    return again(Math.max(0, decision.nextRunTime.getTime() - now().getTime()));
  };

  const isBusy = ({ pod, container }: Target): boolean =>
    caches.requests
      .byIndex(BY_POD, `${pod.metadata.namespace}/${pod.metadata.name}`)
      .some((r) => r.spec.containerName === container && !isTerminal(r));

  /** How the newest ended request of the schedule ended. */
  const lastRequest = (schedule: CheckpointSchedule) => {
    let ended: CheckpointRequest | undefined;
    for (const request of caches.requests.byIndex(BY_SCHEDULE, schedule.metadata.uid ?? "")) {
      if (isTerminal(request) && (ended === undefined || endTime(request) > endTime(ended))) ended = request;
    }
    if (ended === undefined) return undefined;
    return ended.status?.phase === "Failed"
      ? {
          status: "False" as const,
          reason: ended.status.reason ?? "Internal",
          message: ended.status.message ?? `request ${ended.metadata.name} failed`,
        }
      : { status: "True" as const, reason: "Completed", message: `request ${ended.metadata.name} completed` };
  };
  const writeIfChanged = async (schedule: CheckpointSchedule, next: ScheduleStatus): Promise<void> => {
    const old: Record<string, unknown> = { ...schedule.status };
    const changed = Object.entries(next).some(([key, value]) => !isDeepStrictEqual(old[key], value));
    if (changed) await writeStatus(client, schedules, schedule, next);
  };

  return new Controller({
    name: "schedule",
    log,
    metrics: context.metrics,
    workers: WORKERS,
    reconcile,
    sources: [
      changesOf(caches.schedules),
      clockChanges(now, () => caches.schedules.list().map(({ metadata }) => metadata)),
      changesOf(caches.checkpoints, scheduleOf),
      changesOf(caches.requests, (request) => {
        const ref = request.spec.checkpointScheduleRef;
        return ref === undefined || !isTerminal(request)
          ? []
          : [{ namespace: request.metadata.namespace, name: ref.name }];
      }),
      changesOf(caches.pods, (pod, previous) => {
        // Only what may change which pods match; not every heartbeat of every pod.
        if (previous !== undefined && previous.status?.phase === pod.status?.phase) return [];
        return schedulesOfPod(caches, pod).map(({ metadata }) => ({
          namespace: metadata.namespace,
          name: metadata.name,
        }));
      }),
    ],
  });
}

export const scheduleOf = (checkpoint: Checkpoint): ObjectName[] => {
  const ref = checkpoint.spec.checkpointScheduleRef;
  return ref === undefined ? [] : [{ namespace: checkpoint.metadata.namespace, name: ref.name }];
};

const endTime = (request: CheckpointRequest): string =>
  request.status?.completionTime ?? request.metadata.creationTimestamp ?? "";

function newestGood(checkpoints: readonly Checkpoint[]): string | undefined {
  return checkpoints
    .filter(isGood)
    .map((c) => c.spec.checkpointTimestamp)
    .sort()
    .at(-1);
}
