import { type ERRORS, KcrError } from "../../api/errors.ts";
import { defaultContainer, findContainer, runtimeID, statusOf } from "../../api/pod.ts";
import { laterRecord, mayDump, readRecords } from "../../api/records.ts";
import { type CheckpointRequest, DEFAULT_TIMEOUT_SECONDS } from "../../api/request.ts";
import type { Pod } from "../../kube/resources.ts";

export type RequestDecision =
  | { type: "nothing" }
  /** Refused or given up: final. */
  | { type: "fail"; error: KcrError }
  /** The node that runs the container takes it from here. */
  | { type: "accept"; nodeName: string; podUID: string; container: string }
  /** An agent has it; look again when its deadline and a little more have passed. */
  | { type: "wait"; untilMs: number }
  /** Its node has to be ready first. */
  | { type: "hold"; node: string };

/** What there is around a request. */
export interface RequestWorld {
  now: Date;
  /** Whether the node that the request is stamped with exists. */
  nodeExists: boolean;
  nodeReady(name: string): boolean;
  /** When it was first held for its node; absent: it never was. What it waited for its turn before does not count. */
  heldSince?: Date;
}

/** How much longer than a request's deadline its agent may be silent before the operator fails the request. */
const SLACK_MS = 15_000;

const failed = (code: keyof typeof ERRORS, message: string): RequestDecision => ({
  type: "fail",
  error: new KcrError(code, message),
});

/**
 * What becomes of a request. The pod is of the request's own namespace and of its name, or absent.
 *
 * Guarantees: a request ends: refused at once, taken by its node's agent, failed when its node was not ready for as
 * long as it may last, or failed when its deadline and SLACK_MS have passed without the agent saying how it ended.
 */
export function decideRequest(
  request: CheckpointRequest,
  pod: Pod | undefined,
  { now, nodeExists, nodeReady, heldSince = now }: RequestWorld,
): RequestDecision {
  const { status, spec, metadata } = request;
  const timeout = (spec.timeoutSeconds ?? DEFAULT_TIMEOUT_SECONDS) * 1000;
  if (metadata.deletionTimestamp !== undefined) return { type: "nothing" };
  if (status?.phase === "Completed" || status?.phase === "Failed") return { type: "nothing" };

  if (status?.nodeName !== undefined) {
    if (!nodeExists) return failed("NodeLost", `node ${status.nodeName} no longer exists`);
    const deadline =
      Date.parse(status.acceptedTime ?? metadata.creationTimestamp ?? now.toISOString()) + timeout;
    const left = deadline + SLACK_MS - now.getTime();
    if (left > 0) return { type: "wait", untilMs: left };
    return failed(
      "DeadlineExceeded",
      `the agent of node ${status.nodeName} did not finish within ${timeout / 1000} s`,
    );
  }

  const { name, namespace } = spec.podReference;
  if (namespace !== undefined && namespace !== metadata.namespace) {
    return failed(
      "PodInOtherNamespace",
      `pod ${namespace}/${name} is not in namespace ${metadata.namespace}`,
    );
  }
  if (pod === undefined) return failed("PodNotFound", `pod ${name} does not exist`);
  if (
    pod.metadata.deletionTimestamp !== undefined ||
    pod.status?.phase !== "Running" ||
    !pod.spec?.nodeName
  ) {
    const phase =
      pod.metadata.deletionTimestamp !== undefined ? "being deleted" : (pod.status?.phase ?? "new");
    return failed("PodNotRunning", `pod ${name} is ${phase}`);
  }
  const container = spec.containerName ?? defaultContainer(pod);
  if (container === undefined || findContainer(pod, container) === undefined) {
    return failed("ContainerNotFound", `pod ${name} has no container ${container}`);
  }
  const running = statusOf(pod, container);
  if (running?.state?.running === undefined) {
    return failed("ContainerNotRunning", `container ${container} of pod ${name} is not running`);
  }
  const later = laterRecord(pod);
  if (later !== undefined) return { type: "fail", error: later };
  if (!mayDump(readRecords(pod)[container], runtimeID(running.containerID))) {
    return failed("RestoreInProgress", `container ${container} of pod ${name} has just restarted`);
  }
  const { nodeName } = pod.spec;
  if (!nodeReady(nodeName)) {
    // Nobody is there to take it: it must not hold a place among those that can be taken.
    if (now.getTime() - heldSince.getTime() < timeout) return { type: "hold", node: nodeName };
    return failed("DeadlineExceeded", `node ${nodeName} was not ready for ${timeout / 1000} s`);
  }
  return { type: "accept", nodeName, podUID: pod.metadata.uid ?? "", container };
}
