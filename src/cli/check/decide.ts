import type { Facts, Finding, Look, Verdict } from "./facts.ts";
import { backoff, lastDump, pause } from "./history.ts";
import { agent, criu, handler, kubelet, runtime } from "./node.ts";
import { devices, environment, identity, image, memory, processes, restarts, running } from "./pod.ts";
import { protection, restoring } from "./restoring.ts";
import { volumes } from "./volumes.ts";

/** All that is looked at, in the order of what it rests on: the node, the pod, what was seen of it, what would follow. */
const LOOKS: readonly Look[] = [
  running,
  agent,
  kubelet,
  runtime,
  handler,
  criu,
  processes,
  identity,
  devices,
  volumes,
  environment,
  memory,
  lastDump,
  pause,
  protection,
  restoring,
  image,
  restarts,
  backoff,
];

const RANK: Record<Verdict, number> = { no: 0, warning: 1, unknown: 2, ok: 3 };

/** Whether the container can be checkpointed and restored, and why not: the worst first. Pure. */
export function decide(facts: Facts, now: Date): Finding[] {
  return LOOKS.flatMap((look) => look(facts, now) ?? []).sort((a, b) => RANK[a.verdict] - RANK[b.verdict]);
}

/** The worst of all. */
export const verdictOf = (findings: readonly Finding[]): Verdict => {
  const [worst] = findings.toSorted((a, b) => RANK[a.verdict] - RANK[b.verdict]);
  return worst?.verdict ?? "unknown";
};
