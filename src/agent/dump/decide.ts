import { KcrError } from "../../api/errors.ts";
import { CRIU_OPTIONS_ANNOTATION } from "../../api/labels.ts";
import {
  type ContainerStatus,
  findContainer,
  handlerOf,
  isRunning,
  type PodContainer,
  runtimeID,
  statusOf,
} from "../../api/pod.ts";
import { laterRecord, mayDump, readRecords } from "../../api/records.ts";
import { type CaptureSource, type CheckpointRequest, DEFAULT_TIMEOUT_SECONDS } from "../../api/request.ts";
import type { Settings } from "../../api/settings.ts";
import type { Pod } from "../../kube/resources.ts";
import {
  type CriuOption,
  formatCriuOptions,
  neededAtRestore,
  parseCriuOptions,
} from "../../store/criu-options.ts";
import type { KnownRun } from "../plan/runs.ts";

/** What a request asks of its node's agent now. */
export type DumpDecision =
  | { type: "nothing" }
  | { type: "fail"; error: KcrError }
  /** Not begun: look at the pod and dump. */
  | { type: "begin" }
  /** Begun by a process that is gone, or by this one before an error: see what there is of it. */
  | { type: "resume"; source: CaptureSource; startTime: Date }
  /** Given up when its deadline passed: a late whole archive still becomes its Checkpoint. */
  | { type: "late"; source: CaptureSource; startTime: Date };

/** When the request's time is up. */
export function deadlineOf(request: CheckpointRequest): Date {
  const from = request.status?.acceptedTime ?? request.metadata.creationTimestamp;
  const timeout = request.spec.timeoutSeconds ?? DEFAULT_TIMEOUT_SECONDS;
  return new Date(Date.parse(from ?? "") + timeout * 1000);
}

export function deadlineExceeded(request: CheckpointRequest): KcrError {
  const timeout = request.spec.timeoutSeconds ?? DEFAULT_TIMEOUT_SECONDS;
  return new KcrError("DeadlineExceeded", `the checkpoint was not taken within ${timeout} s`);
}

/** How long after its deadline a dump may still end: no call to a runtime lasts longer. */
const LATE_MS = 3_600_000;

/** Decides by the request alone, as it is on the API server. */
export function decideDump(request: CheckpointRequest, node: string, now: Date): DumpDecision {
  const { metadata, spec, status } = request;
  if (status?.nodeName !== node || metadata.deletionTimestamp !== undefined) return { type: "nothing" };
  const begun =
    status.startTime !== undefined && status.source !== undefined
      ? { source: status.source, startTime: new Date(status.startTime) }
      : undefined;

  switch (status.phase) {
    case "Completed":
      return { type: "nothing" };
    case "Failed": {
      const givenUp = now.getTime() - Date.parse(status.completionTime ?? "");
      return begun &&
        status.reason === "DeadlineExceeded" &&
        status.checkpoint === undefined &&
        !(givenUp > LATE_MS)
        ? { type: "late", ...begun }
        : { type: "nothing" };
    }
    case "InProgress":
      if (begun) return { type: "resume", ...begun };
  }
  const { name, namespace } = spec.podReference;
  if (namespace !== undefined && namespace !== metadata.namespace) {
    return {
      type: "fail",
      error: new KcrError(
        "PodInOtherNamespace",
        `pod ${namespace}/${name} is not in the request's namespace`,
      ),
    };
  }
  if (status.podUID === undefined || status.containerName === undefined) return { type: "nothing" };
  return now < deadlineOf(request) ? { type: "begin" } : { type: "fail", error: deadlineExceeded(request) };
}

/** The container to be dumped: what its pod says of it, and its run at this moment. */
export interface Dumpable {
  pod: Pod;
  container: PodContainer;
  status: ContainerStatus & { containerID: string };
  /** Of a pod of class kcr: what the handler knows of the run. */
  run: KnownRun | undefined;
  /** Options of CRIU's that the pod asks for. */
  criuOptions: readonly CriuOption[];
}

/**
 * Whether the container may be dumped now, judged by the pod as it is on the API server and, for a pod of class
 * kcr, by the newest run that the handler knows of.
 */
export function judgePod(
  request: CheckpointRequest,
  pod: Pod | undefined,
  run?: KnownRun | KcrError,
): Dumpable | KcrError {
  const { name } = request.spec.podReference;
  const wanted = request.status?.containerName ?? "";
  if (pod === undefined) return new KcrError("PodNotFound", `pod ${name} does not exist`);
  if (pod.metadata.uid !== request.status?.podUID) {
    return new KcrError("PodNotFound", `pod ${name} was replaced by another of the same name`);
  }
  if (!isRunning(pod)) return new KcrError("PodNotRunning", `pod ${name} is not running`);
  const container = findContainer(pod, wanted);
  if (container === undefined)
    return new KcrError("ContainerNotFound", `pod ${name} has no container ${wanted}`);
  const status = statusOf(pod, wanted);
  const containerID = status?.containerID;
  if (status?.state?.running === undefined || !containerID) {
    return new KcrError("ContainerNotRunning", `container ${wanted} of pod ${name} is not running`);
  }
  const id = runtimeID(containerID);
  if (run instanceof KcrError) return run;
  const later = laterRecord(pod);
  if (later !== undefined) return later;
  const isDecided =
    handlerOf(pod) === undefined ? mayDump(readRecords(pod)[wanted], id) : run === undefined || run.id === id;
  if (!isDecided) {
    return new KcrError("RestoreInProgress", `container ${wanted} of pod ${name} has just restarted`);
  }
  const asked = parseCriuOptions(pod.metadata.annotations?.[CRIU_OPTIONS_ANNOTATION] ?? "");
  if (asked.type === "refused") {
    return new KcrError(
      "CriuOptionsInvalid",
      `annotation ${CRIU_OPTIONS_ANNOTATION} of pod ${name}: ${asked.why}`,
    );
  }
  return {
    pod,
    container,
    status: { ...status, containerID },
    run: handlerOf(pod) && run,
    criuOptions: asked.options,
  };
}

/** Of the options that the pod asks for, those with which it is dumped: the kubelet's call has no place for any. */
export const optionsInUse = (
  { pod, criuOptions }: Pick<Dumpable, "pod" | "criuOptions">,
  { engine }: Pick<Settings, "engine">,
): readonly CriuOption[] => (engine === "runc" || handlerOf(pod) !== undefined ? criuOptions : []);

/** What of them has no effect, as a person is told; undefined when all is as it was asked for. */
export function optionsIgnored(
  { pod, criuOptions }: Pick<Dumpable, "pod" | "criuOptions">,
  { engine }: Pick<Settings, "engine">,
): KcrError | undefined {
  if (handlerOf(pod) !== undefined || criuOptions.length === 0) return undefined;
  const { name } = pod.metadata;
  if (engine === "kubelet") {
    return new KcrError(
      "CriuOptionsIgnored",
      `pod ${name} asks for ${formatCriuOptions(criuOptions)}, which the kubelet's checkpoint API cannot pass on`,
    );
  }
  const missed = formatCriuOptions(neededAtRestore(criuOptions));
  if (missed === "") return undefined;
  return new KcrError(
    "CriuOptionsIgnored",
    `pod ${name} is dumped with ${missed}, and a restore through an image is made without`,
  );
}
