import { type Checkpoint, POISONED } from "../../api/checkpoint.ts";
import { setCondition } from "../../api/conditions.ts";
import { checkpoints } from "../../api/kinds.ts";
import { type Report, reportsOf } from "../../api/reports.ts";
import { Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import type { ObjectName } from "../../kube/resources.ts";
import { updateStatus } from "../../kube/write.ts";
import { BY_NAMESPACE, type Context } from "../context.ts";

/**
 * Writes into the Checkpoints of one node what the agent of another tells of them on a pod of its own.
 *
 * Guarantees: of what is told on a pod, Checkpoints of its namespace alone hear; told twice, it counts once.
 * Caveats: of two restores from one Checkpoint that are told before it is looked at, one is counted.
 */
export function reportController({ client, caches, log, metrics, now }: Context): Controller {
  const reconcile = async ({ namespace, name }: ObjectName): Promise<Outcome> => {
    const pod = caches.pods.get(namespace, name);
    const reports = pod === undefined ? [] : reportsOf(pod);
    if (reports.length === 0) return done;
    const all = caches.checkpoints.byIndex(BY_NAMESPACE, namespace ?? "");
    for (const report of reports) {
      const checkpoint = all.find(({ metadata }) => metadata.uid === report.checkpointUID);
      if (checkpoint !== undefined) {
        await updateStatus(client, checkpoints, checkpoint, (current) => heard(current, report, now()));
      }
    }
    return done;
  };

  return new Controller({
    name: "report",
    log,
    metrics,
    reconcile,
    sources: [
      changesOf(caches.pods, (pod) => (reportsOf(pod).length === 0 ? [] : [pod.metadata])),
      changesOf(caches.checkpoints, () => []),
    ],
  });
}

/** What changes of a Checkpoint's status by a report; nothing where it is known already. */
export function heard({ status }: Checkpoint, report: Report, now: Date): object | undefined {
  switch (report.what) {
    case "restored": {
      const { lastRestoredTime, restoredCount = 0 } = status ?? {};
      if (lastRestoredTime !== undefined && Date.parse(lastRestoredTime) >= Date.parse(report.time)) {
        return undefined;
      }
      return { restoredCount: restoredCount + 1, lastRestoredTime: report.time };
    }
    case "poisoned": {
      // A person who takes it back is not overruled by what was told before.
      const old = status?.conditions?.find(({ type }) => type === POISONED);
      if (old !== undefined && Date.parse(old.lastTransitionTime) >= Date.parse(report.time))
        return undefined;
      const condition = {
        type: POISONED,
        status: "True",
        reason: "CheckpointPoisoned",
        message: report.message,
      } as const;
      const conditions = setCondition(status?.conditions, condition, now);
      return conditions === status?.conditions ? undefined : { conditions };
    }
    default:
      return report.what satisfies never;
  }
}
