import { createHash } from "node:crypto";
import type { CheckpointSchedule } from "../../api/schedule.ts";
import type { Client } from "../../kube/client.ts";
import { isAlreadyExists, isNamespaceTerminating, isNotFound } from "../../kube/errors.ts";
import { cutBytes } from "../../kube/events.ts";
import { controllerOf, type ObjectReference } from "../../kube/owner.ts";
import { events } from "../../kube/resources.ts";
import { microTime } from "../../kube/time.ts";

/** Something that happened once, at a time that is known. */
export interface Occurrence {
  /** Makes it the same one when it is told again. */
  id: string;
  regarding: ObjectReference;
  type: "Normal" | "Warning";
  reason: string;
  action: string;
  note: string;
  time: Date;
}

/** Limit of the API; source: apimachinery's validation of events.k8s.io/v1. */
const MAX_NOTE_BYTES = 1024;
const MAX_NAME = 253;

/**
 * Writes an Event and resolves when it is written: told again it is still one. In a namespace that goes there is
 * nobody left to be told.
 */
export async function tellOnce(client: Client, node: string, happened: Occurrence): Promise<void> {
  const { id, regarding, type, reason, action, note, time } = happened;
  const identity = JSON.stringify([id, regarding.kind, regarding.uid, regarding.name, reason, note]);
  const hash = createHash("sha256").update(identity).digest("hex").slice(0, 16);
  const stem = regarding.name.slice(0, MAX_NAME - hash.length - 1).replace(/[^a-z0-9]+$/, "");
  const namespace = regarding.namespace ?? "default";
  try {
    await client.create(events, {
      metadata: { name: `${stem}.${hash}`, namespace },
      regarding,
      type,
      reason,
      action,
      note: cutBytes(note, MAX_NOTE_BYTES),
      eventTime: microTime(time),
      reportingController: "kcr-agent",
      reportingInstance: node,
    });
  } catch (error) {
    if (!isAlreadyExists(error) && !isNamespaceTerminating(error) && !isNotFound(error)) throw error;
  }
}

/** The workload that a schedule is of: what people look at. A schedule that a person made has none. */
export function workloadOf(schedule: CheckpointSchedule | undefined): ObjectReference | undefined {
  const owner = schedule && controllerOf(schedule);
  if (owner === undefined) return undefined;
  const { apiVersion, kind, name, uid } = owner;
  return { apiVersion, kind, name, namespace: schedule?.metadata.namespace, uid };
}
