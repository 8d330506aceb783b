import { z } from "zod";
import type { KubeObject } from "../kube/resources.ts";
import { RECORD_ANNOTATION } from "./labels.ts";

/**
 * What the operator has decided about the runs of one container, kept on the pod so that any later leader
 * knows it. Runs are counted as the kubelet does: restartCount 0 is the first.
 */
export const containerRecord = z.object({
  /** The image of the pod's own spec, whatever checkpoint image stands there now. */
  originalImage: z.string(),
  /** Newest run that was decided about: it counts as the container's state. Later runs may not be dumped. */
  run: z.int().min(0),
  /** The Checkpoint that this run was restored from; absent for a fresh start. */
  parent: z.string().optional(),
  /** How often in a row `parent` crashed at once. */
  crashes: z.int().min(0).default(0),
  /** A restore under way: waits for a run later than `after` of `image`. */
  restore: z
    .object({
      /** Absent when it goes back to the original image. */
      checkpoint: z.string().optional(),
      image: z.string(),
      after: z.int().min(0),
      startedTime: z.string(),
      /** Decided while the kubelet was about to restart the container: one more run may be of the old image. */
      unsure: z.boolean().optional(),
    })
    .optional(),
});
export type ContainerRecord = z.infer<typeof containerRecord>;

const records = z.record(z.string(), containerRecord);
export type Records = Record<string, ContainerRecord>;

/** The records on a pod. A pod without any, or with a text that is not one, has none. */
export function readRecords(pod: KubeObject): Records {
  const text = pod.metadata.annotations?.[RECORD_ANNOTATION];
  if (text === undefined) return {};
  try {
    return records.parse(JSON.parse(text));
  } catch {
    return {};
  }
}

/** Whether a run may be dumped: only the one that was decided about, lest another buries the state before. */
export function mayDump(record: ContainerRecord | undefined, restartCount: number): boolean {
  return record?.restore === undefined && restartCount === (record?.run ?? 0);
}
