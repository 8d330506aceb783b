import { setCondition } from "../../api/conditions.ts";
import { READY } from "../../api/request.ts";
import type {
  CheckpointRetention,
  ClusterCheckpointRetention,
  RetentionStatus,
} from "../../api/retention.ts";
import type { RetentionPlan } from "../../retention/decide.ts";
import { nameOfPolicy } from "../../retention/rules.ts";

/** How many of what goes next are told of by name. */
const TOLD = 20;

/** What a policy's status tells, by the plans of the namespaces that it is about. */
export function statusOf(
  policy: CheckpointRetention | ClusterCheckpointRetention,
  plans: ReadonlyMap<string, RetentionPlan>,
  now: Date,
): RetentionStatus {
  const name = nameOfPolicy(policy);
  const matched = { count: 0, bytes: 0 };
  const removable = { count: 0, bytes: 0 };
  const next: NonNullable<RetentionStatus["next"]> = [];
  const spared: string[] = [];
  for (const [namespace, plan] of [...plans].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const about = plan.matched.get(name);
    matched.count += about?.count ?? 0;
    matched.bytes += about?.bytes ?? 0;
    for (const { checkpoint, why, bytes, policy: by } of plan.removals) {
      if (by !== name) continue;
      removable.count += 1;
      removable.bytes += bytes;
      next.push({ namespace, name: checkpoint.metadata.name, why, bytes });
    }
    for (const { checkpoint, why, policy: by } of plan.spared) {
      if (by === name) spared.push(`${checkpoint.metadata.name}: ${why}`);
    }
  }
  const stays = spared.length === 0 ? "" : `; ${spared.length} stay all the same (${spared[0]})`;
  const message = `${removable.count} of ${matched.count} Checkpoints ${policy.spec.dryRun ? "would go" : "go next"}${stays}`;
  return {
    observedGeneration: policy.metadata.generation,
    matched,
    removable,
    next: next.slice(0, TOLD),
    conditions: setCondition(
      policy.status?.conditions,
      { type: READY, status: "True", reason: policy.spec.dryRun ? "DryRun" : "Applied", message },
      now,
    ),
  };
}
