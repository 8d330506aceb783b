import type { Node, Pod } from "../kube/resources.ts";
import { meets } from "./selector.ts";

type PodSpec = NonNullable<Pod["spec"]>;
type Taint = NonNullable<NonNullable<Node["spec"]>["taints"]>[number];
type Toleration = NonNullable<PodSpec["tolerations"]>[number];
type SelectorTerm = NonNullable<
  NonNullable<
    NonNullable<PodSpec["affinity"]>["nodeAffinity"]
  >["requiredDuringSchedulingIgnoredDuringExecution"]
>["nodeSelectorTerms"][number];
type Requirement = NonNullable<SelectorTerm["matchExpressions"]>[number];

/*
 * The scheduler's filters, as far as a pod itself and its node decide, however full that is. Source: kube-scheduler's
 * plugins NodeName, NodeUnschedulable, NodeAffinity and TaintToleration.
 */

/** Whether a pod may be on the node, however full that is. */
export function suits(spec: PodSpec, node: Node): boolean {
  const labels = node.metadata.labels ?? {};
  if ((labels["kubernetes.io/os"] ?? "linux") !== "linux") return false;
  if (!node.status?.conditions?.some((c) => c.type === "Ready" && c.status === "True")) return false;
  if (!hasLabels(labels, spec.nodeSelector)) return false;
  const required = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  if (required !== undefined && !required.nodeSelectorTerms.some((term) => matchesTerm(term, node)))
    return false;
  // A pod that names its node passes the scheduler by; what throws it off the node again still counts.
  const pinned = Boolean(spec.nodeName);
  if (pinned && spec.nodeName !== node.metadata.name) return false;
  return taintsOf(node)
    .filter(({ effect }) => effect === "NoExecute" || (effect === "NoSchedule" && !pinned))
    .every((taint) => (spec.tolerations ?? []).some((toleration) => tolerates(toleration, taint)));
}

const hasLabels = (labels: Record<string, string>, wanted: Record<string, string> = {}): boolean =>
  Object.entries(wanted).every(([key, value]) => labels[key] === value);

/** A node that is unschedulable is, for the scheduler, one with a taint. */
function taintsOf({ spec }: Node): Taint[] {
  const cordoned = { key: "node.kubernetes.io/unschedulable", effect: "NoSchedule" };
  return [...(spec?.taints ?? []), ...(spec?.unschedulable === true ? [cordoned] : [])];
}

function tolerates(toleration: Toleration, taint: Taint): boolean {
  const { key, effect, value = "" } = toleration;
  if (effect && effect !== taint.effect) return false;
  if (key && key !== taint.key) return false;
  switch (toleration.operator || "Equal") {
    case "Exists":
      return true;
    case "Equal":
      return Boolean(key) && value === (taint.value ?? "");
    default:
      return false;
  }
}

/** All of a term; a term without any requirement matches nothing. */
function matchesTerm({ matchExpressions = [], matchFields = [] }: SelectorTerm, node: Node): boolean {
  if (matchExpressions.length + matchFields.length === 0) return false;
  const labels = node.metadata.labels ?? {};
  return (
    matchExpressions.every((wanted) => matchesRequirement(wanted, labels[wanted.key])) &&
    matchFields.every(
      (wanted) => wanted.key === "metadata.name" && matchesRequirement(wanted, node.metadata.name),
    )
  );
}

function matchesRequirement({ operator, values = [] }: Requirement, value: string | undefined): boolean {
  switch (operator) {
    case "In":
    case "NotIn":
    case "Exists":
    case "DoesNotExist":
      return meets(value, operator, values);
    case "Gt":
      return isInteger(value) && isInteger(values[0]) && Number(value) > Number(values[0]);
    case "Lt":
      return isInteger(value) && isInteger(values[0]) && Number(value) < Number(values[0]);
    default:
      return false;
  }
}

const isInteger = (text: string | undefined): text is string => text !== undefined && /^[+-]?\d+$/.test(text);
