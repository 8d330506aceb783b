import { join } from "node:path";
import type { Checkpoint } from "../../api/checkpoint.ts";
import { KcrError } from "../../api/errors.ts";
import { isGood } from "../../api/kinds.ts";
import { findContainer, handlerOf, type PodContainer, statusOf } from "../../api/pod.ts";
import { type Protection, protectionOf } from "../../api/protection.ts";
import { Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import { type ObjectReference, objectRef } from "../../kube/owner.ts";
import type { ObjectName, Pod } from "../../kube/resources.ts";
import { SPEC_DUMP } from "../../store/copy.ts";
import { readIfThere } from "../../store/files.ts";
import { BY_NAMESPACE, BY_UID, type Context } from "../context.ts";
import { tellOnce, workloadOf } from "../notes/event.ts";
import { copyOf, hasCopy } from "./copies.ts";
import { readRun } from "./runs.ts";
import { runChanges } from "./sources.ts";
import { changeSince, type DumpedSpec, differences } from "./spec-change.ts";

/**
 * Says of a new pod what makes it other than the pods that there are checkpoints of: after a rollout their state
 * does not fit, and whoever wonders why it begins with none finds the reason. Keyed by the pod's UID; best effort.
 *
 * Guarantees: one Event SpecChanged for each container of a pod, whoever tells it; names only, never values.
 */
export function specChangeController(context: Context): Controller {
  const { node, client, caches, layout, log, metrics } = context;
  const told = new Set<string>();

  const reconcile = async ({ name: podUID }: ObjectName): Promise<Outcome> => {
    const [pod] = caches.pods.byIndex(BY_UID, podUID);
    if (pod === undefined || handlerOf(pod) === undefined) return done;
    const schedules = caches.schedules.byIndex(BY_NAMESPACE, pod.metadata.namespace ?? "");
    for (const [name, protection] of protectionOf(pod, schedules)) {
      const key = `${podUID}/${name}`;
      const container = findContainer(pod, name);
      if (container === undefined || told.has(key) || !(await isFirstRun(pod, name))) continue;
      const before = newestBefore(pod, name, protection);
      if (before === undefined) continue;
      await tell(pod, container, protection, before);
      told.add(key);
    }
    return done;
  };

  /** It began afresh, and never restarted. */
  const isFirstRun = async (pod: Pod, container: string): Promise<boolean> => {
    const status = statusOf(pod, container);
    if (status?.restartCount !== 0 || status.state?.running === undefined) return false;
    const run = await readRun(layout, { podUID: pod.metadata.uid ?? "", container });
    return run !== undefined && !(run instanceof KcrError) && run.restoredFrom === undefined;
  };

  /** The newest good Checkpoint of this node that the schedule had made of a pod before this one. */
  const newestBefore = (pod: Pod, container: string, { schedule }: Protection): Checkpoint | undefined => {
    const { namespace = "", uid, creationTimestamp = "" } = pod.metadata;
    return caches.checkpoints
      .byIndex(BY_NAMESPACE, namespace)
      .filter(
        (c) =>
          c.spec.containerName === container &&
          c.spec.checkpointScheduleRef?.name === schedule.metadata.name &&
          c.status?.lineage?.podUID !== uid &&
          takenAt(c) < Date.parse(creationTimestamp) &&
          isGood(c),
      )
      .reduce<Checkpoint | undefined>(
        (a, b) => (a === undefined || takenAt(a) < takenAt(b) ? b : a),
        undefined,
      );
  };

  const tell = async (
    pod: Pod,
    container: PodContainer,
    { schedule }: Protection,
    before: Checkpoint,
  ): Promise<void> => {
    const change = changeSince(before, container, statusOf(pod, container.name));
    if (!change.image && !change.given) return;
    const given = change.given ? await named(container, before) : [];
    const names = [...(change.image ? ["image"] : []), ...given].join(", ");
    const text = `container ${container.name} begins with no state: what it is given is not what Checkpoint ${before.metadata.name} was taken of (${names})`;
    const workload = workloadOf(schedule);
    const regarding: [ObjectReference, string][] = [[objectRef(pod), text]];
    if (workload !== undefined) regarding.push([workload, `pod ${pod.metadata.name}: ${text}`]);
    for (const [object, note] of regarding) {
      await tellOnce(client, node, {
        id: `${pod.metadata.uid}/${container.name}/SpecChanged`,
        regarding: object,
        type: "Normal",
        reason: "SpecChanged",
        action: "Restore",
        note,
        time: new Date(pod.metadata.creationTimestamp ?? 0),
      });
    }
  };

  /** By the copy of the Checkpoint, where there is one. */
  const named = async (container: PodContainer, before: Checkpoint): Promise<string[]> => {
    const copy = copyOf(before);
    const isThere = copy !== undefined && (await hasCopy(layout, copy));
    const text = isThere ? await readIfThere(join(layout.copy(copy), SPEC_DUMP)) : undefined;
    const names = text === undefined ? [] : differences(container, JSON.parse(text) as DumpedSpec);
    return names.length > 0 ? names : ["command, environment, mounts or security context"];
  };

  return new Controller({
    name: "spec-change",
    log,
    metrics,
    backoff: { baseMs: 1_000, maxMs: 60_000, jitter: 0.2 },
    reconcile,
    sources: [
      changesOf(caches.pods, ({ metadata }) => [{ name: metadata.uid ?? "" }]),
      changesOf(caches.checkpoints, () => []),
      changesOf(caches.schedules, () => []),
      runChanges(layout, log),
    ],
  });
}

const takenAt = ({ spec }: Checkpoint): number => Date.parse(spec.checkpointTimestamp);
