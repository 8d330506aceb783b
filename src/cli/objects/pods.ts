import type { LabelSelector } from "../../api/common.ts";
import { KcrError } from "../../api/errors.ts";
import type { KubeObject, Pod, Resource } from "../../kube/resources.ts";
import { pods } from "../../kube/resources.ts";
import type { Connection } from "../cluster.ts";
import { PODS } from "./kinds.ts";
import { selectorText } from "./selector.ts";
import type { Target } from "./target.ts";

/** A workload as far as its pods go. */
export interface Workload extends KubeObject {
  spec?: { selector?: LabelSelector; template?: object; suspend?: boolean };
  status?: { conditions?: { type: string; status: string; reason?: string; message?: string }[] };
}

export const getWorkload = (
  { client, namespace }: Connection,
  { kind, name }: Target,
  signal?: AbortSignal,
): Promise<Workload> => client.get(kind.resource as Resource<Workload>, { namespace, name }, { signal });

/**
 * The pods that a target means: a pod itself, or those of a workload, by name.
 *
 * Errors: those of the API; KcrError NoMatchingPods for a workload without any.
 */
export async function podsOf(connection: Connection, target: Target, signal?: AbortSignal): Promise<Pod[]> {
  const { client, namespace } = connection;
  if (target.kind === PODS) return [await client.get(pods, { namespace, name: target.name }, { signal })];
  const workload = await getWorkload(connection, target, signal);
  const found = await podsSelected(connection, workload.spec?.selector ?? {}, signal);
  if (found.length === 0) {
    const what = `${target.kind.resource.kind} ${target.name}`;
    throw new KcrError("NoMatchingPods", `no pod matches the selector of ${what}`);
  }
  return found;
}

/** The pods of a selector, by name; none for an empty one, which would mean every pod. */
export async function podsSelected(
  { client, namespace }: Connection,
  selector: LabelSelector,
  signal?: AbortSignal,
): Promise<Pod[]> {
  const labelSelector = selectorText(selector);
  if (labelSelector === "") return [];
  const { items } = await client.listAll(pods, { namespace, labelSelector, signal });
  return items.sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
}
