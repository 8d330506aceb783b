import { z } from "zod";
import type { KubeObject } from "../kube/resources.ts";
import { laterProtocol, ofLaterProtocol } from "../store/protocol.ts";
import { origin } from "./checkpoint.ts";
import { KcrError } from "./errors.ts";
import { RECORD_ANNOTATION } from "./labels.ts";

/** The protocol of each record that this code writes (src/store/protocol.ts): `version` stands beside its fields. */
export const RECORD_VERSION = 1;

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
      /** Whether the image cannot be pulled, or the container not be created; and since when. */
      failing: z.enum(["Pull", "Create"]).optional(),
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

/** As they stand on a pod. */
export const recordsText = (records: Records): string =>
  JSON.stringify(
    Object.fromEntries(
      Object.entries(records).map(([container, record]) => [
        container,
        { version: RECORD_VERSION, ...containerRecord.parse(record) },
      ]),
    ),
  );

/** Why nothing is decided about a pod's runs: an operator of a later version keeps its records. */
export function laterRecord(pod: KubeObject): KcrError | undefined {
  let records: unknown;
  try {
    records = JSON.parse(pod.metadata.annotations?.[RECORD_ANNOTATION] ?? "null");
  } catch {
    return undefined;
  }
  for (const [container, record] of Object.entries(records ?? {})) {
    const later = laterProtocol(record, RECORD_VERSION);
    if (later === undefined || (record.podUID ?? pod.metadata.uid) !== pod.metadata.uid) continue;
    const what = `the record of container ${container} of pod ${pod.metadata.name}`;
    return new KcrError("ProtocolUnknown", ofLaterProtocol(what, later, RECORD_VERSION));
  }
}

/**
 * Whether the container with that ID may be dumped: where records are kept, only the run that was decided
 * about, lest another buries its state.
 */
export function mayDump(record: ContainerRecord | undefined, containerID: string | undefined): boolean {
  return record === undefined || (record.restore === undefined && record.containerID === containerID);
}
