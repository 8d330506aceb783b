import type { LabelSelector } from "../../api/common.ts";
import { parseCron } from "../../api/cron.ts";
import { asKcrError, KcrError } from "../../api/errors.ts";
import { scheduleSpec } from "../../api/schedule.ts";

/** A workload as far as its protection goes, whatever its kind. */
export interface Workload {
  uid: string;
  deleting: boolean;
  /** Value of the schedule annotation, if there is one. */
  expression?: string;
  selector: LabelSelector;
}

/** The schedule of the workload's name, if one exists. */
export interface Existing {
  /** UID of its controlling owner. */
  ownerUID?: string;
  deleting: boolean;
}

export type WorkloadDecision =
  /** Not annotated, nothing of ours exists. */
  | { type: "nothing" }
  /** The annotation is gone: its schedule goes, and all that exists only for it. */
  | { type: "remove" }
  /** A schedule of that name is somebody else's: never adopted, never deleted. */
  | { type: "taken" }
  /** Going away: the garbage collector takes what is owned. */
  | { type: "wait" }
  /** The annotation cannot even stand in a schedule. */
  | { type: "refuse"; error: KcrError }
  /** The schedule shall say this. An expression that cannot be read is applied all the same, so that a condition can say so. */
  | { type: "apply"; schedule: string; selector: LabelSelector; invalid?: KcrError };

export function decideWorkload(workload: Workload, existing: Existing | undefined): WorkloadDecision {
  const ours = existing?.ownerUID === workload.uid;
  if (workload.deleting) return { type: "wait" };
  if (workload.expression === undefined) return ours ? { type: "remove" } : { type: "nothing" };
  if (existing !== undefined && !ours) return existing.deleting ? { type: "wait" } : { type: "taken" };
  if (existing?.deleting === true) return { type: "wait" };
  if (!scheduleSpec.shape.schedule.safeParse(workload.expression).success) {
    const { length } = workload.expression;
    return {
      type: "refuse",
      error: new KcrError("InvalidSchedule", `the annotation has ${length} characters`),
    };
  }
  let invalid: KcrError | undefined;
  try {
    parseCron(workload.expression);
  } catch (error) {
    invalid = asKcrError(error);
  }
  return { type: "apply", schedule: workload.expression, selector: workload.selector, invalid };
}
