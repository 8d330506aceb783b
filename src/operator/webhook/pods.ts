import { RUNTIME_HANDLER } from "../../api/checkpoint.ts";
import { RESTORE_FROM_ANNOTATION } from "../../api/labels.ts";
import { handlerOf } from "../../api/pod.ts";
import type { CheckpointSchedule } from "../../api/schedule.ts";
import { unsuited } from "../../api/strategy.ts";
import type { AdmissionAnswer, AdmissionRequest } from "../../kube/admission.ts";
import type { Cache } from "../../kube/cache.ts";
import type { Client, JsonPatch } from "../../kube/client.ts";
import { controllerOf } from "../../kube/owner.ts";
import type { Node, Pod, RuntimeClass } from "../../kube/resources.ts";
import { BY_NAMESPACE, BY_NODE } from "../context.ts";
import { decideClass } from "./decide.ts";
import { wantsHandler, workloadOf } from "./owner.ts";
import type { Promised } from "./promised.ts";

export interface PodWebhookContext {
  client: Client;
  promised: Promised;
  caches: {
    schedules: Cache<CheckpointSchedule>;
    pods: Cache<Pod>;
    nodes: Cache<Node>;
    runtimeClasses: Cache<RuntimeClass>;
  };
}

/**
 * What becomes of a pod that is being made: a protected one gets class kcr where nodes offer it.
 *
 * Errors: those of its look-ups; the pod is to be let through as it is then.
 */
export async function reviewPod(
  context: PodWebhookContext,
  request: AdmissionRequest,
  signal: AbortSignal,
): Promise<AdmissionAnswer> {
  const { client, caches, promised } = context;
  const { namespace, object } = request;
  if (request.operation !== "CREATE" || object?.kind !== "Pod" || namespace === undefined) return {};
  const pod = object as Pod;
  const { spec } = pod;
  if (spec === undefined || unsuited(pod) !== undefined) return {};
  const schedules = caches.schedules.byIndex(BY_NAMESPACE, namespace);
  const wanted = await wantsHandler(pod, schedules, () => workloadOf(client, namespace, pod, signal));
  if (!wanted) return {};

  const unbound = caches.pods.byIndex(BY_NODE, "").filter((other) => handlerOf(other) !== undefined);
  const decision = decideClass({ ...pod, spec }, caches.runtimeClasses.get(undefined, RUNTIME_HANDLER), {
    all: caches.nodes.list(),
    podsOn: (node) => caches.pods.byIndex(BY_NODE, node),
    waiting: [...unbound.flatMap((other) => other.spec ?? []).map((spec) => ({ spec })), ...promised.list()],
  });
  switch (decision.type) {
    case "class":
      if (request.dryRun !== true) promised.add(pod, spec);
      return { patch: patchOf(pod, {}) };
    case "leave":
      // A person reads warnings; a controller would but log one for each pod it makes.
      return controllerOf(pod) === undefined
        ? { warnings: [`kcr: the runtime handler will not restore this pod: ${decision.why}`] }
        : {};
    default:
      return decision satisfies never;
  }
}

/** @param stamp.restoreFrom the Checkpoint whose state the pod is to begin with */
function patchOf(pod: Pod, stamp: { restoreFrom?: string }): JsonPatch {
  const patch: JsonPatch = [{ op: "add", path: "/spec/runtimeClassName", value: RUNTIME_HANDLER }];
  if (stamp.restoreFrom === undefined) return patch;
  const annotations = { ...pod.metadata.annotations, [RESTORE_FROM_ANNOTATION]: stamp.restoreFrom };
  return [...patch, { op: "add", path: "/metadata/annotations", value: annotations }];
}
