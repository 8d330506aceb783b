import { z } from "zod";
import type { KubeObject } from "../kube/resources.ts";
import { origin } from "./checkpoint.ts";
import { RECORD_ANNOTATION } from "./labels.ts";

/**
 * What the operator has decided about the runs of one container, kept on the pod so that any later leader
 * knows it. A run is known by its container's ID; restart counts may begin anew when a node forgets.
 */
export const containerRecord = z.object({
  /** UID of the pod that this is about: a copy on another pod means nothing there. */
  podUID: z.string(),
  /** The image of the pod's own spec, whatever checkpoint image stands there now. */
  originalImage: z.string(),
  /** Restart count of the newest run that was decided about: it counts as the container's state. */
  run: z.int().min(0),
  /** The runtime's ID of that run's container; empty when it was never seen. */
  containerID: z.string(),
  /** The Checkpoint that this run was restored from; absent for a fresh start. */
  parent: z.string().optional(),
  /** The image by which that was done, which may stand in the spec still. */
  parentImage: z.string().optional(),
  /** Where `parent` came from, should it be deleted. */
  parentOrigin: origin.optional(),
  /** How often in a row `parent` crashed at once. */
  crashes: z.int().min(0).default(0),
  /** Checkpoints that could not be restored since the last run that counts; not poisoned, and not tried again. */
  passedOver: z.array(z.string()).max(64).optional(),
  /** A change of the image under way: waits for a run of it. */
  restore: z
    .object({
      /** Absent when it goes to an ordinary image. */
      checkpoint: z.string().optional(),
      image: z.string(),
      /** Restart count, and container, that stood there when it was decided. */
      after: z.int().min(0),
      replaces: z.string(),
      startedTime: z.string(),
      /** Since when the container cannot be created or its image not be pulled. */
      failingSince: z.string().optional(),
      /** Decided while the kubelet was about to restart the container: one more run may be of the old image. */
      unsure: z.boolean().optional(),
    })
    .optional(),
});
export type ContainerRecord = z.infer<typeof containerRecord>;

const records = z.record(z.string(), containerRecord);
export type Records = Record<string, ContainerRecord>;

/** The records on a pod. A pod without any, with a text that is not one, or with another pod's, has none. */
export function readRecords(pod: KubeObject): Records {
  const text = pod.metadata.annotations?.[RECORD_ANNOTATION];
  if (text === undefined) return {};
  try {
    const read = Object.entries(records.parse(JSON.parse(text)));
    return Object.fromEntries(read.filter(([, record]) => record.podUID === pod.metadata.uid));
  } catch {
    return {};
  }
}

/**
 * Whether the container with that ID may be dumped: where records are kept, only the run that was decided
 * about, lest another buries its state.
 */
export function mayDump(record: ContainerRecord | undefined, containerID: string | undefined): boolean {
  return record === undefined || (record.restore === undefined && record.containerID === containerID);
}
