import type { LabelSelector } from "../../api/common.ts";
import { KcrError } from "../../api/errors.ts";
import type { Client } from "../../kube/client.ts";
import {
  daemonSets,
  deployments,
  jobs,
  type KubeObject,
  type Pod,
  pods,
  type Resource,
  statefulSets,
} from "../../kube/resources.ts";
import type { Connection } from "../cluster.ts";
import { UsageError } from "../errors.ts";

/** A workload, as far as its pods are looked for. */
interface Workload extends KubeObject {
  spec?: { selector?: LabelSelector };
}

const WORKLOADS: readonly [Resource<Workload>, ...names: string[]][] = [
  [deployments as Resource<Workload>, "deployment", "deployments", "deploy"],
  [statefulSets as Resource<Workload>, "statefulset", "statefulsets", "sts"],
  [daemonSets as Resource<Workload>, "daemonset", "daemonsets", "ds"],
  [jobs as Resource<Workload>, "job", "jobs"],
];
const POD = ["pod", "pods", "po"];

/**
 * The pods that `pod/x`, `deploy/x`, `sts/x`, `ds/x`, `job/x` or a mere `x` (a pod) stand for, by their names.
 *
 * Errors: UsageError for a kind that has no pods; KcrError NoMatchingPods; those of the API.
 */
export async function podsOf(
  { client, namespace }: Connection,
  target: string,
  signal: AbortSignal,
): Promise<Pod[]> {
  const slash = target.indexOf("/");
  const [kind, name] =
    slash < 0 ? ["pod", target] : [target.slice(0, slash).toLowerCase(), target.slice(slash + 1)];
  if (name === "" || name.includes("/")) throw new UsageError(`${target}: pod/NAME or deploy/NAME is wanted`);
  if (POD.includes(kind)) return [await client.get(pods, { namespace, name }, { signal })];
  const workload = WORKLOADS.find(([, ...names]) => names.includes(kind));
  if (workload === undefined)
    throw new UsageError(`${target}: kinds with pods are pod, deploy, sts, ds and job`);
  const { spec } = await client.get(workload[0], { namespace, name }, { signal });
  const found = await podsMatching(client, namespace, spec?.selector ?? {}, signal);
  if (found.length === 0) throw new KcrError("NoMatchingPods", `${target} has no pod`);
  return found;
}

async function podsMatching(
  client: Client,
  namespace: string,
  { matchLabels = {}, matchExpressions = [] }: LabelSelector,
  signal: AbortSignal,
): Promise<Pod[]> {
  const terms = [
    ...Object.entries(matchLabels).map(([key, value]) => `${key}=${value}`),
    ...matchExpressions.map(({ key, operator, values = [] }) => {
      switch (operator) {
        case "In":
          return `${key} in (${values.join(",")})`;
        case "NotIn":
          return `${key} notin (${values.join(",")})`;
        case "Exists":
          return key;
        case "DoesNotExist":
          return `!${key}`;
        default:
          return operator satisfies never;
      }
    }),
  ];
  if (terms.length === 0) return [];
  const { items } = await client.listAll(pods, { namespace, labelSelector: terms.join(","), signal });
  const isOver = ({ status, metadata }: Pod) =>
    status?.phase === "Succeeded" || status?.phase === "Failed" || metadata.deletionTimestamp !== undefined;
  return items.filter((pod) => !isOver(pod)).sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
}
