import type { Condition } from "../../api/common.ts";
import type { Strategy } from "../../api/strategy.ts";

type Summary = Pick<Condition, "status" | "reason" | "message">;

/** The condition of a pod: its worst container decides. Undefined: none of it is protected. */
export function podSummary(containers: ReadonlyMap<string, Strategy>): Summary | undefined {
  const all = [...containers].sort(([a], [b]) => (a < b ? -1 : 1));
  const worst = worstOf(all.map(([, strategy]) => strategy));
  if (worst === undefined) return undefined;
  const same = all.every(([, { reason, message }]) => reason === worst.reason && message === worst.message);
  const message = same
    ? `${worst.strategy}: ${worst.message}`
    : all.map(([name, s]) => `container ${name}: ${s.strategy}, ${s.message}`).join("; ");
  return { status: worst.strategy === "None" ? "False" : "True", reason: worst.reason, message };
}

/** The condition of a schedule, from the containers it protects. Undefined: there is none. */
export function scheduleSummary(containers: readonly Strategy[]): Summary | undefined {
  const worst = worstOf(containers);
  if (worst === undefined) return undefined;
  const counts = new Map<string, number>();
  for (const { strategy, reason } of containers) {
    const key = `${strategy} (${reason})`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const status = worst.strategy === "None" ? "False" : "True";
  // No number where it says nothing: it would be written anew with every pod that comes or goes.
  if (counts.size === 1) {
    return { status, reason: worst.reason, message: `${worst.strategy}: ${worst.message}` };
  }
  const message = [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([what, count]) => `${count} of ${containers.length} containers: ${what}`)
    .join("; ");
  return { status, reason: worst.reason, message };
}

function worstOf(all: readonly Strategy[]): Strategy | undefined {
  const rank = { None: 0, Image: 1, Runtime: 2 };
  return all.toSorted(
    (a, b) => rank[a.strategy] - rank[b.strategy] || (a.reason < b.reason ? -1 : a.reason > b.reason ? 1 : 0),
  )[0];
}
