import { RESTORE_FROM_ANNOTATION } from "../../api/labels.ts";
import { findContainer, handlerOf, runtimeID, statusOf } from "../../api/pod.ts";
import type { Pod } from "../../kube/resources.ts";

/** What a container is about to do, as far as a restore in place of it goes. */
export type Current =
  | { type: "running"; containerID: string; startedAt: string }
  /** Its last run is over, and the kubelet starts another by itself. */
  | { type: "restarting"; containerID: string }
  /** It never ran, and its `create` waits for what restores it. */
  | { type: "awaiting" }
  /** It never ran and comes up. */
  | { type: "coming" }
  /** Nothing makes it run. */
  | { type: "over"; why: string };

/** Reasons with which the kubelet says that there is no image to make a container of. */
const PULL_ERRORS = new Set(["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"]);

export function currentOf(pod: Pod, container: string): Current {
  const status = statusOf(pod, container);
  const containerID = runtimeID(status?.containerID) ?? "";
  const { running, waiting, terminated } = status?.state ?? {};
  if (running !== undefined)
    return { type: "running", containerID, startedAt: String(running.startedAt ?? "") };
  if (containerID === "") {
    const isStamped = pod.metadata.annotations?.[RESTORE_FROM_ANNOTATION] !== undefined;
    return isStamped && handlerOf(pod) !== undefined ? { type: "awaiting" } : { type: "coming" };
  }
  if (waiting?.reason !== undefined && PULL_ERRORS.has(waiting.reason)) {
    return { type: "over", why: `its image cannot be pulled (${waiting.reason})` };
  }
  const policy = findContainer(pod, container)?.restartPolicy ?? pod.spec?.restartPolicy ?? "Always";
  const exitCode = terminated?.exitCode ?? status?.lastState?.terminated?.exitCode;
  if (policy === "Never" || (policy === "OnFailure" && exitCode === 0)) {
    return { type: "over", why: `it has ended, and its restart policy is ${policy}` };
  }
  return { type: "restarting", containerID };
}
