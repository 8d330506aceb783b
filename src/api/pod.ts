import type { Pod } from "../kube/resources.ts";
import { RUNTIME_HANDLER } from "./checkpoint.ts";
import { DEFAULT_CONTAINER_ANNOTATION } from "./labels.ts";

/** A container of a pod's spec: an ordinary one, or a native sidecar. */
export type PodContainer = NonNullable<Pod["spec"]>["containers"][number];

export type ContainerStatus = NonNullable<NonNullable<Pod["status"]>["containerStatuses"]>[number];

/** Containers that can be captured: the ordinary ones, and native sidecars (init containers that keep running). */
export function containersOf(pod: Pod): PodContainer[] {
  const sidecars = (pod.spec?.initContainers ?? []).filter((c) => c.restartPolicy === "Always");
  return [...(pod.spec?.containers ?? []), ...sidecars];
}

export const findContainer = (pod: Pod, name: string): PodContainer | undefined =>
  containersOf(pod).find((c) => c.name === name);

export const statusOf = (pod: Pod, container: string): ContainerStatus | undefined =>
  [...(pod.status?.containerStatuses ?? []), ...(pod.status?.initContainerStatuses ?? [])].find(
    (s) => s.name === container,
  );

/** What commands mean when no container is named: the annotated one if it exists, else the first. */
export function defaultContainer(pod: Pod): string | undefined {
  const wanted = pod.metadata.annotations?.[DEFAULT_CONTAINER_ANNOTATION];
  if (wanted !== undefined && findContainer(pod, wanted) !== undefined) return wanted;
  return pod.spec?.containers[0]?.name;
}

/** The runtime's own ID: `containerd://abc` -> `abc`. */
export const runtimeID = (containerID: string | undefined): string | undefined =>
  containerID?.replace(/^[a-z0-9.+-]+:\/\//, "") || undefined;

export const isRunning = (pod: Pod): boolean =>
  pod.status?.phase === "Running" && pod.metadata.deletionTimestamp === undefined;

/** kcr's runtime handler where the pod's class names it: only then is it restored by the handler. */
export const handlerOf = (pod: Pod): typeof RUNTIME_HANDLER | undefined =>
  pod.spec?.runtimeClassName === RUNTIME_HANDLER ? RUNTIME_HANDLER : undefined;

/** Condition of a pod: which way its containers would be restored, or why there is none. */
export const STRATEGY = "kcr.io/Strategy";

/** Condition of a pod: how its last restore went. */
export const RESTORED = "kcr.io/Restored";
