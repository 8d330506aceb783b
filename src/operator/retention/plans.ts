import type { CheckpointRetention, ClusterCheckpointRetention, RetentionRules } from "../../api/retention.ts";
import type { Node } from "../../kube/resources.ts";
import { decideRetention, type RetentionPlan } from "../../retention/decide.ts";
import type { Picture } from "../../retention/gather.ts";
import { rulesOf } from "../../retention/rules.ts";

export interface Plans {
  /** What follows. */
  meant: RetentionPlan;
  /** What is shown: as if dry runs were meant. */
  shown: RetentionPlan;
}

/**
 * The plans of a namespace's picture. A policy that is only tried out lets nothing go, by what it does not say any more
 * neither: what it would keep stays, though without it a default would let it go. Else whoever makes a policy a dry
 * run, to be careful, would lose what it had kept.
 */
export function plansOf(
  picture: Picture,
  { builtIn, pressed }: { builtIn: RetentionRules; pressed: ReadonlySet<string> },
): Plans {
  const planOf = (counts: (policy: Policy) => boolean): RetentionPlan => {
    const clusterRetentions = picture.clusterRetentions.filter(counts);
    const retentions = picture.retentions.filter(counts);
    const rules = rulesOf({ ...picture, builtIn, clusterRetentions, retentions });
    return decideRetention({ ...picture, rules, pressed });
  };
  const plan = planOf(isMeant);
  if ([...picture.retentions, ...picture.clusterRetentions].every(isMeant))
    return { meant: plan, shown: plan };
  const shown = planOf(() => true);
  const goes = new Set(shown.removals.map(({ checkpoint }) => checkpoint.metadata.uid));
  const removals = plan.removals.filter(({ checkpoint }) => goes.has(checkpoint.metadata.uid));
  return { meant: { ...plan, removals }, shown };
}

/** Kubelets tell of their nodes every five minutes at the latest. In milliseconds. */
const SILENCE_MS = 3_600_000;

/**
 * Whether this clock is far ahead of those of the nodes, or nothing was heard of any for an hour: ages mean nothing
 * then. No word where there are no nodes.
 */
export function isClockDoubtful(nodes: readonly Node[], now: Date): boolean {
  const heard = nodes.flatMap(({ status }) => {
    const at = Date.parse(status?.conditions?.find(({ type }) => type === "Ready")?.lastHeartbeatTime ?? "");
    return Number.isNaN(at) ? [] : [at];
  });
  return heard.length > 0 && now.getTime() - heard.reduce((a, b) => Math.max(a, b)) > SILENCE_MS;
}

type Policy = CheckpointRetention | ClusterCheckpointRetention;
const isMeant = ({ spec }: Policy): boolean => spec.dryRun !== true;
