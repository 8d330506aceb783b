import { isDeepStrictEqual } from "node:util";
import { parseCron } from "../../api/cron.ts";
import { KcrError } from "../../api/errors.ts";
import { schedules } from "../../api/kinds.ts";
import { SCHEDULE_ANNOTATION } from "../../api/labels.ts";
import { scheduleName } from "../../api/names.ts";
import type { CheckpointSchedule } from "../../api/schedule.ts";
import type { Cache } from "../../kube/cache.ts";
import { Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import { isAlreadyExists } from "../../kube/errors.ts";
import { controllerOf, ownerReference } from "../../kube/owner.ts";
import type { ObjectName, Resource } from "../../kube/resources.ts";
import { absent, writeCondition } from "../../kube/write.ts";
import { readAnnotations } from "../../retention/rules.ts";
import type { Context } from "../context.ts";
import { decideWorkload } from "./decide.ts";
import { RETENTION_ANNOTATIONS, retentionAnnotations, type WorkloadObject } from "./kinds.ts";

/** Condition of a Deployment: whether its annotation has become a schedule. */
export const PROTECTED = "kcr.io/Protected";

interface Protected {
  status: "True" | "False";
  reason: string;
  message: string;
}

/**
 * Annotated workload -> CheckpointSchedule, owned by it and of its name. One controller per kind of workload.
 *
 * Guarantees: the owner reference is in the very write that creates the schedule; a schedule that the workload
 * does not own is never changed or deleted.
 */
export function workloadController(
  context: Context,
  resource: Resource<WorkloadObject>,
  workloads: Cache<WorkloadObject>,
): Controller {
  const { client, caches, recorder, now } = context;

  const reconcile = async ({ namespace, name }: ObjectName): Promise<Outcome> => {
    const workload = workloads.get(namespace, name);
    if (workload === undefined) return done;
    const target = { namespace, name: scheduleName(name, resource.kind) };
    if (isSettled(workload, caches.schedules.get(namespace, target.name))) return done;
    // Read from the server, not from the cache: "not there" decides about ownership.
    const annotated = workload.metadata.annotations?.[SCHEDULE_ANNOTATION] !== undefined;
    const existing =
      annotated || caches.schedules.get(namespace, target.name) !== undefined
        ? await client.get(schedules, target).catch(absent)
        : undefined;
    const decision = decideWorkload(
      {
        uid: workload.metadata.uid ?? "",
        deleting: workload.metadata.deletionTimestamp !== undefined,
        expression: workload.metadata.annotations?.[SCHEDULE_ANNOTATION],
        selector: workload.spec?.selector ?? {},
      },
      existing && {
        ownerUID: controllerOf(existing)?.uid,
        deleting: existing.metadata.deletionTimestamp !== undefined,
      },
    );

    switch (decision.type) {
      case "nothing":
      case "wait":
        return done;
      case "taken": {
        const error = new KcrError(
          "ScheduleNameTaken",
          `CheckpointSchedule ${target.name} exists and does not belong to this ${resource.kind}`,
        );
        await tell(error);
        return done;
      }
      case "refuse":
        await tell(decision.error);
        return done;
      case "remove":
        await say(workload, undefined);
        await client.delete(schedules, target, {
          preconditions: { uid: existing?.metadata.uid, resourceVersion: existing?.metadata.resourceVersion },
          propagationPolicy: "Background",
        });
        recorder.record({
          regarding: workload,
          type: "Normal",
          reason: "Unprotected",
          action: "Remove",
          note: "the schedule annotation was removed: the CheckpointSchedule and its checkpoints go",
        });
        return done;
      case "apply": {
        const spec = { schedule: decision.schedule, selector: decision.selector };
        const annotations = retentionAnnotations(workload.metadata);
        if (existing === undefined) {
          try {
            await client.create(schedules, {
              apiVersion: `${schedules.group}/${schedules.version}`,
              kind: schedules.kind,
              metadata: { ...target, annotations, ownerReferences: [ownerReference(workload, true)] },
              spec,
            });
          } catch (error) {
            if (!isAlreadyExists(error)) throw error;
          }
        } else if (!sameSpec(existing.spec, spec) || !sameRetention(existing, workload)) {
          await client.patch(schedules, target, {
            type: "merge",
            body: {
              metadata: {
                resourceVersion: existing.metadata.resourceVersion,
                annotations: { ...NO_RETENTION, ...annotations },
              },
              spec,
            },
          });
        }
        const { refused } = readAnnotations(annotations);
        if (refused !== undefined) {
          const { code: reason, advice: note } = new KcrError("InvalidRetention", refused);
          recorder.record({ regarding: workload, type: "Warning", reason, action: "Protect", note });
        }
        if (decision.invalid !== undefined) await tell(decision.invalid);
        else
          await say(workload, {
            status: "True",
            reason: "Scheduled",
            message: `by CheckpointSchedule ${target.name}`,
          });
        return done;
      }
      default:
        return decision satisfies never;
    }

    /** An Event on the workload, and its condition. */
    async function tell(error: KcrError): Promise<void> {
      const { code: reason, advice } = error;
      await say(workload!, { status: "False", reason, message: advice });
      recorder.record({ regarding: workload!, type: "Warning", reason, action: "Protect", note: advice });
    }
  };

  /** The condition of a Deployment, or its removal. Other kinds' controllers do not keep conditions of others. */
  const say = async (workload: WorkloadObject, next: Protected | undefined): Promise<void> => {
    if (resource.kind !== "Deployment") return;
    const old = workload.status?.conditions?.find((c) => c.type === PROTECTED);
    if (next === undefined && old === undefined) return;
    if (next !== undefined && old?.status === next.status && old.message === next.message) return;
    const time = now().toISOString();
    const condition =
      next === undefined
        ? { $patch: "delete", type: PROTECTED }
        : { type: PROTECTED, ...next, lastUpdateTime: time, lastTransitionTime: time };
    await writeCondition(client, resource, workload, condition).catch(absent);
  };

  /** Whether nothing is left to do by what the caches say: what they do not say yet leads here again. */
  const isSettled = (workload: WorkloadObject, schedule: CheckpointSchedule | undefined): boolean => {
    const { uid, annotations, deletionTimestamp } = workload.metadata;
    const expression = annotations?.[SCHEDULE_ANNOTATION];
    if (deletionTimestamp !== undefined) return true;
    if (expression === undefined) return schedule === undefined;
    return (
      schedule !== undefined &&
      schedule.metadata.deletionTimestamp === undefined &&
      controllerOf(schedule)?.uid === uid &&
      sameSpec(schedule.spec, { schedule: expression, selector: workload.spec?.selector ?? {} }) &&
      sameRetention(schedule, workload) &&
      isCron(expression) &&
      (resource.kind !== "Deployment" ||
        (workload.status?.conditions?.some(({ type, status }) => type === PROTECTED && status === "True") ??
          false))
    );
  };

  /** The workload for which a schedule of that name would be taken, if it can be one of this kind. */
  const workloadOf = ({ metadata: { namespace, name } }: CheckpointSchedule): ObjectName[] => {
    const suffix = scheduleName("", resource.kind);
    return name.endsWith(suffix) ? [{ namespace, name: name.slice(0, name.length - suffix.length) }] : [];
  };

  /** Whether more than its status has changed. */
  const concernsOwner = (schedule: CheckpointSchedule, previous: CheckpointSchedule | undefined): boolean => {
    const { namespace, name, generation, deletionTimestamp, ownerReferences } = schedule.metadata;
    return (
      previous === undefined ||
      previous.metadata.generation !== generation ||
      previous.metadata.deletionTimestamp !== deletionTimestamp ||
      !isDeepStrictEqual(previous.metadata.ownerReferences, ownerReferences) ||
      caches.schedules.get(namespace, name) === undefined
    );
  };

  return new Controller({
    name: `workload-${resource.kind.toLowerCase()}`,
    log: context.log,
    metrics: context.metrics,
    workers: 4,
    reconcile,
    sources: [
      changesOf(workloads),
      changesOf(caches.schedules, (schedule, previous) => {
        if (!concernsOwner(schedule, previous)) return [];
        const owner = controllerOf(schedule);
        return owner?.kind === resource.kind
          ? [{ namespace: schedule.metadata.namespace, name: owner.name }]
          : // A schedule of a workload's name that is gone frees the name.
            workloadOf(schedule);
      }),
    ],
  });
}

/** One that cannot be read is never settled: what is said of it may be of the one before. */
function isCron(expression: string): boolean {
  try {
    parseCron(expression);
    return true;
  } catch {
    return false;
  }
}

/** Whether the annotation's part of the spec already says so; what a person added besides it stays. */
function sameSpec(
  now: { schedule: string; selector: unknown },
  wanted: { schedule: string; selector: unknown },
): boolean {
  return now.schedule === wanted.schedule && isDeepStrictEqual(now.selector, wanted.selector);
}

const sameRetention = (schedule: CheckpointSchedule, workload: WorkloadObject): boolean =>
  isDeepStrictEqual(retentionAnnotations(schedule.metadata), retentionAnnotations(workload.metadata));

/** For a merge patch: what the workload does not say any more goes. */
const NO_RETENTION = Object.fromEntries(RETENTION_ANNOTATIONS.map((key) => [key, null]));
