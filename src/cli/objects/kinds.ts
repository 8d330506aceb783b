import { checkpoints, requests, restores, schedules } from "../../api/kinds.ts";
import {
  daemonSets,
  deployments,
  jobs,
  type KubeObject,
  pods,
  type Resource,
  statefulSets,
} from "../../kube/resources.ts";

/** A kind that command lines name: `deploy/x`, `deployment.apps/x`, `checkpoints x`. */
export interface NamedKind {
  resource: Resource;
  /** As kubectl takes them, besides the plural and the kind in lower case. */
  short: readonly string[];
}

/** Workloads that the annotation protects. */
export const WORKLOADS: readonly NamedKind[] = [
  { resource: deployments, short: ["deploy"] },
  { resource: statefulSets, short: ["sts"] },
  { resource: daemonSets, short: ["ds"] },
  { resource: jobs, short: [] },
];

export const PODS: NamedKind = { resource: pods, short: ["pod", "po"] };

/** kcr's own, with the short names of their CRDs. */
export const OWN = {
  checkpoint: { resource: checkpoints, short: ["ckpt"] },
  schedule: { resource: schedules, short: ["ckpts", "schedule", "schedules"] },
  request: { resource: requests, short: ["ckptreq", "request", "requests"] },
  restore: { resource: restores, short: ["ckptres", "restore", "restores"] },
} satisfies Record<string, NamedKind>;

/** The kind that a word means, with or without its group; undefined for none of them. */
export function findKind(word: string, among: readonly NamedKind[]): NamedKind | undefined {
  const [plain = "", ...group] = word.toLowerCase().split(".");
  return among.find(
    ({ resource, short }) =>
      (group.length === 0 || group.join(".") === resource.group) &&
      [resource.plural, resource.kind.toLowerCase(), ...short].includes(plain),
  );
}

/** What is written for a kind: the first short name, else the kind. */
export const wordOf = ({ resource, short }: NamedKind): string => short[0] ?? resource.kind.toLowerCase();

/** As kubectl's -o name: `pod/x`, `deployment.apps/x`. */
export function nameOfObject({ kind, group }: Resource, object: Pick<KubeObject, "metadata">): string {
  const singular = kind.toLowerCase();
  return `${group === "" ? singular : `${singular}.${group}`}/${object.metadata.name}`;
}
