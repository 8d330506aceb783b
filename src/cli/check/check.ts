import { KcrError } from "../../api/errors.ts";
import { containersOf, defaultContainer, findContainer } from "../../api/pod.ts";
import { protectionOf } from "../../api/protection.ts";
import type { Pod } from "../../kube/resources.ts";
import type { Connection } from "../cluster.ts";
import { PODS, WORKLOADS } from "../objects/kinds.ts";
import { podsOf } from "../objects/pods.ts";
import { parseTarget } from "../objects/target.ts";
import { decide, verdictOf } from "./decide.ts";
import { type Finding, type Verdict, value } from "./facts.ts";
import { gather, gatherAround } from "./gather.ts";

/** What a check says of one container. */
export interface Report {
  namespace: string;
  pod: string;
  node?: string;
  container: string;
  /** The worst of the findings. */
  verdict: Verdict;
  findings: Finding[];
}

/**
 * Looks at each pod of a target; nothing is changed, and nothing of them is stopped.
 *
 * @param target as a person names it; a word without a kind is a pod.
 *
 * Errors: UsageError; KcrError ContainerNotFound, NoMatchingPods; those of the API.
 */
export async function check(
  connection: Connection,
  target: string,
  { container, program, now = new Date() }: { container?: string; program: string; now?: Date },
  signal: AbortSignal,
): Promise<Report[]> {
  const { client, namespace } = connection;
  const meant = await podsOf(connection, parseTarget(target, [PODS, ...WORKLOADS], PODS), signal);
  const lasting = meant.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  const all = lasting.length > 0 ? lasting : meant;
  const around = await gatherAround(client, signal);
  const reports: Report[] = [];
  for (const pod of all) {
    const first = nameOf(pod, container);
    const facts = await gather(client, pod, first, around, signal);
    // Which containers are meant only the schedules say.
    const protectedOnes = [...protectionOf(pod, value(facts.schedules) ?? []).keys()];
    const names = container !== undefined || protectedOnes.length === 0 ? [first] : protectedOnes;
    for (const name of names.filter((one) => findContainer(pod, one) !== undefined)) {
      const own = name === first ? facts : await gather(client, pod, name, around, signal);
      const findings = decide({ ...own, program, again: connection.again }, now);
      const node = pod.spec?.nodeName;
      reports.push({
        namespace,
        pod: pod.metadata.name,
        ...(node ? { node } : {}),
        container: name,
        verdict: verdictOf(findings),
        findings,
      });
    }
  }
  return reports;
}

function nameOf(pod: Pod, container: string | undefined): string {
  const name = container ?? defaultContainer(pod);
  if (name !== undefined && findContainer(pod, name) !== undefined) return name;
  const names = containersOf(pod).map((one) => one.name);
  throw new KcrError(
    "ContainerNotFound",
    `pod ${pod.metadata.name} has no container ${name}: it has ${names.join(", ")}`,
  );
}
