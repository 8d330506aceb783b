import { type Checkpoint, IMAGE_PUSHED, LOCAL_COPY, RESTORABLE } from "../../api/checkpoint.ts";
import { findCondition } from "../../api/conditions.ts";
import { KcrError } from "../../api/errors.ts";
import { API_VERSION } from "../../api/group.ts";
import { checkpoints, isGood, requests } from "../../api/kinds.ts";
import { APP_VALUE, LABEL_APP, LABEL_POD, LABEL_POD_NAMESPACE } from "../../api/labels.ts";
import { labelValue } from "../../api/names.ts";
import { containersOf, defaultContainer, findContainer } from "../../api/pod.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import type { Pod } from "../../kube/resources.ts";
import { after, follow } from "../../kube/signals.ts";
import type { Connection } from "../cluster.ts";
import { told } from "../errors.ts";
import { observe } from "../objects/observe.ts";

/** One container that is to be captured. */
export interface Wanted {
  pod: string;
  container: string;
}

/**
 * The containers of pods that a command means: the named ones that each has, all, or each pod's default one.
 *
 * Errors: KcrError ContainerNotFound where none of the pods has one that is named.
 */
export function containersWanted(
  pods: readonly Pod[],
  { containers = [], all = false }: { containers?: readonly string[]; all?: boolean },
): Wanted[] {
  for (const name of containers) {
    if (pods.some((pod) => findContainer(pod, name) !== undefined)) continue;
    const there = [...new Set(pods.flatMap((pod) => containersOf(pod).map((c) => c.name)))].join(", ");
    const of = pods.length === 1 ? `pod ${pods[0]?.metadata.name}` : "these pods";
    throw new KcrError("ContainerNotFound", `no container ${name} in ${of}, but ${there}`);
  }
  return pods.flatMap((pod) => {
    const names = containersOf(pod).map((c) => c.name);
    const one = defaultContainer(pod);
    const chosen =
      containers.length > 0
        ? names.filter((name) => containers.includes(name))
        : all
          ? names
          : names.filter((name) => name === one);
    return chosen.map((container) => ({ pod: pod.metadata.name, container }));
  });
}

/**
 * Asks for a checkpoint of one container. Takes no signal: a creation that is cut off may have been done, and then
 * nobody would know what to call off. Errors: those of the API.
 */
export function askForCheckpoint(
  { client, namespace }: Connection,
  { pod, container }: Wanted,
  timeoutSeconds?: number,
): Promise<CheckpointRequest> {
  return client.create(requests, {
    apiVersion: API_VERSION,
    kind: requests.kind,
    metadata: {
      namespace,
      // The API server makes a name of it that is free.
      generateName: `${pod}-`,
      labels: {
        [LABEL_APP]: APP_VALUE,
        [LABEL_POD]: labelValue(pod),
        [LABEL_POD_NAMESPACE]: labelValue(namespace),
      },
    },
    spec: {
      podReference: { name: pod },
      containerName: container,
      ...(timeoutSeconds === undefined ? {} : { timeoutSeconds }),
    },
  });
}

/**
 * Follows a request until its Checkpoint is good, and tells on the way what is being done.
 *
 * Errors: KcrError with the code that the request or the Checkpoint ended with; those of the API.
 */
export async function untilGood(
  connection: Connection,
  request: CheckpointRequest,
  tell: (text: string) => void,
  signal: AbortSignal,
): Promise<Checkpoint> {
  const { namespace } = request.metadata;
  const name = await untilCompleted(connection, request, tell, signal);
  for await (const checkpoint of observe(connection, checkpoints, { namespace, name }, signal)) {
    if (checkpoint === undefined) throw new KcrError("CheckpointNotFound", `Checkpoint ${name} was deleted`);
    if (isGood(checkpoint)) return await onceStored(connection, checkpoint, signal);
    const failure = failureOf(checkpoint);
    if (failure !== undefined) throw failure;
    tell(afterDump(checkpoint));
  }
  throw signal.reason;
}

/** How long a good Checkpoint's second copy is waited for, so that all places can be named, in milliseconds. */
const SECOND_COPY_MS = 3_000;

async function onceStored(
  connection: Connection,
  good: Checkpoint,
  signal: AbortSignal,
): Promise<Checkpoint> {
  let last = good;
  const enough = new Error("the Checkpoint is good as it is");
  using limit = follow(signal);
  const cancel = after(SECOND_COPY_MS, () => limit.abort(enough));
  try {
    for await (const now of observe(connection, checkpoints, good.metadata, limit.signal)) {
      if (now === undefined) return last;
      last = now;
      const isStored = (type: string): boolean => findCondition(now.status?.conditions, type) !== undefined;
      if (isStored(IMAGE_PUSHED) && (now.status?.handler === undefined || isStored(LOCAL_COPY))) return now;
    }
  } catch (error) {
    if (error !== enough) throw error;
  } finally {
    cancel();
  }
  return last;
}

async function untilCompleted(
  connection: Connection,
  request: CheckpointRequest,
  tell: (text: string) => void,
  signal: AbortSignal,
): Promise<string> {
  for await (const now of observe(connection, requests, request.metadata, signal)) {
    if (now === undefined) {
      throw new KcrError("CheckpointFailed", `CheckpointRequest ${request.metadata.name} was deleted`);
    }
    const { phase, reason, message, checkpoint, nodeName } = now.status ?? {};
    if (phase === "Completed" && checkpoint !== undefined) return checkpoint.name;
    if (phase === "Failed") throw told(reason, message ?? "the request failed");
    tell(
      phase === "InProgress"
        ? `being dumped on ${nodeName}`
        : nodeName === undefined
          ? "waiting for the operator of kcr"
          : `waiting for the agent of ${nodeName}`,
    );
  }
  throw signal.reason;
}

/** Why a Checkpoint is not good and will not be; undefined while it may be yet. */
export function failureOf({ metadata, status }: Checkpoint): KcrError | undefined {
  const condition = findCondition(status?.conditions, RESTORABLE);
  if (status?.phase !== "Failed" && condition?.status !== "False") return undefined;
  const why = status?.failedReason ?? condition?.message ?? "";
  return told(condition?.reason, `Checkpoint ${metadata.name} is not good: ${why}`);
}

function afterDump({ status }: Checkpoint): string {
  const waiting = [LOCAL_COPY, IMAGE_PUSHED]
    .map((type) => findCondition(status?.conditions, type))
    .find((condition) => condition !== undefined && condition.status !== "True");
  return waiting === undefined ? "being stored" : `being stored: ${waiting.message}`;
}
