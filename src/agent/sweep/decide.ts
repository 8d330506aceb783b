import type { Checkpoint } from "../../api/checkpoint.ts";
import { isTerminal } from "../../api/kinds.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import { type ArchiveFile, isNamed } from "../archives.ts";

/** An archive that is younger may still become a Checkpoint: a request that was given up has an hour for that. */
export const SAFE_MS = 2 * 3_600_000;

/** What is known of one archive of the kubelet's directory. */
export interface Found {
  file: ArchiveFile;
  /** The run that it is of, by what it says itself; undefined for one that is not whole. */
  containerID: string | undefined;
}

export type ArchiveFate =
  | { type: "keep" }
  /** Of a request of ours that ended without it. */
  | { type: "leftover"; request: CheckpointRequest }
  /** Made by others, and older than a policy of the cluster lets those become. */
  | { type: "foreign" };

/**
 * What becomes of an archive that has lain in the kubelet's directory.
 *
 * `checkpoints` and `requests` are all of the node, from the API server, not from a cache. What a Checkpoint names
 * stays: it goes with its Checkpoint. So does what nobody knows: a name cannot be split safely into whose it is.
 */
export function fateOf(
  { file, containerID }: Found,
  around: {
    checkpoints: readonly Checkpoint[];
    requests: readonly CheckpointRequest[];
    /** Absent: archives of others stay. */
    foreignMs?: number | undefined;
    now: Date;
  },
): ArchiveFate {
  const { checkpoints, requests, foreignMs, now } = around;
  const age = now.getTime() - file.modified.getTime();
  if (age < SAFE_MS || checkpoints.some(({ spec }) => spec.checkpointData === file.name))
    return { type: "keep" };
  const candidates = requests.filter((request) => mayBeOf(file, containerID, request));
  if (candidates.some((request) => !isTerminal(request))) return { type: "keep" };
  const [request] = candidates;
  if (request !== undefined) return { type: "leftover", request };
  return foreignMs !== undefined && age > foreignMs ? { type: "foreign" } : { type: "keep" };
}

/** Whether a request may have made that archive: by its name and time, and by the run where the archive tells it. */
function mayBeOf(
  file: ArchiveFile,
  containerID: string | undefined,
  { metadata, spec, status }: CheckpointRequest,
): boolean {
  const { namespace = "" } = metadata;
  const container = status?.containerName ?? "";
  if (!isNamed(file.name, { namespace, pod: spec.podReference.name, container })) return false;
  if (status?.startTime === undefined || file.modified.getTime() < Date.parse(status.startTime)) return false;
  return containerID === undefined || containerID === status.source?.lineage.containerID;
}
