import type { Checkpoint } from "../../api/checkpoint.ts";
import { isTerminal } from "../../api/kinds.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import { type ArchiveFile, askedAt } from "../archives.ts";

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

/**
 * Whether a request may have made that archive: by its name, by when the kubelet was asked for it, and by the run where
 * the archive tells it. What a person asked the kubelet for at another time is named alike and of the same run; and one
 * that came to its Checkpoint has its archive there.
 */
function mayBeOf(
  file: ArchiveFile,
  containerID: string | undefined,
  { metadata, spec, status }: CheckpointRequest,
): boolean {
  const { namespace = "" } = metadata;
  const { containerName: container = "", startTime, completionTime, checkpoint } = status ?? {};
  const asked = askedAt(file.name, { namespace, pod: spec.podReference.name, container });
  if (asked === undefined || startTime === undefined || checkpoint !== undefined) return false;
  // Names and times are of whole seconds.
  const isEarlier = asked < Math.floor(Date.parse(startTime) / 1000) * 1000;
  const isLater = completionTime !== undefined && asked > Date.parse(completionTime);
  if (isEarlier || isLater || file.modified.getTime() < Date.parse(startTime)) return false;
  return containerID === undefined || containerID === status?.source?.lineage.containerID;
}
