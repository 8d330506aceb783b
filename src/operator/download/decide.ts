import type { Checkpoint } from "../../api/checkpoint.ts";
import {
  type CheckpointDownload,
  DOWNLOAD_PORT,
  type DownloadEndpoint,
  endOf,
  isLive,
} from "../../api/download.ts";
import { KcrError } from "../../api/errors.ts";
import type { Pod } from "../../kube/resources.ts";

/** What is offered, besides the token: what it is, and where. */
export interface Offer {
  digest: string;
  sizeBytes?: number | undefined;
  endpoint: DownloadEndpoint;
}

export type DownloadDecision =
  | { type: "nothing" }
  /** Its time is over. */
  | { type: "delete" }
  | { type: "wait"; why: KcrError }
  | { type: "fail"; error: KcrError }
  /** It gets a token. */
  | { type: "offer"; offer: Offer }
  /** It has a token, and what is offered with it has changed. */
  | { type: "amend"; offer: Offer };

export interface DownloadWorld {
  now: Date;
  /** The Checkpoint that is named, as the API server has it. */
  checkpoint: Checkpoint | undefined;
  /** Pods of the download part. */
  pods: readonly Pod[];
}

/** What becomes of a CheckpointDownload. */
export function decideDownload(
  download: CheckpointDownload,
  { now, checkpoint, pods }: DownloadWorld,
): DownloadDecision {
  const { metadata, spec, status } = download;
  if (metadata.deletionTimestamp !== undefined) return { type: "nothing" };
  if (!isLive(download, now)) return { type: "delete" };
  if (status?.phase === "Failed") return { type: "nothing" };
  if (checkpoint === undefined || checkpoint.metadata.deletionTimestamp !== undefined) {
    const error = new KcrError("CheckpointNotFound", `there is no Checkpoint ${spec.checkpointName}`);
    return { type: "fail", error };
  }
  const { digest, sizeBytes, copies = [] } = checkpoint.status ?? {};
  if (digest === undefined || copies.length === 0) {
    const what = `Checkpoint ${spec.checkpointName} tells of no copy, on a node or in a registry`;
    return { type: "wait", why: new KcrError("ArchiveNowhere", what) };
  }
  const pod = choosePod(pods, status?.endpoint?.podName);
  if (pod === undefined) {
    return { type: "wait", why: new KcrError("DownloadUnavailable", "no pod of the download part is ready") };
  }
  const { name: podName, namespace = "" } = pod.metadata;
  const offer: Offer = { digest, sizeBytes, endpoint: { namespace, podName, port: DOWNLOAD_PORT } };
  if (status?.tokenHash === undefined) return { type: "offer", offer };
  const isSame =
    status.phase === "Ready" &&
    status.digest === digest &&
    status.sizeBytes === sizeBytes &&
    status.endpoint?.podName === podName;
  return isSame ? { type: "nothing" } : { type: "amend", offer };
}

/** How long a download has yet, in milliseconds. */
export const restOf = (download: CheckpointDownload, now: Date): number =>
  Math.max(endOf(download) - now.getTime(), 0);

/** The pod that is told of already, as long as it is ready; else the one that is ready and was made last. */
function choosePod(pods: readonly Pod[], told: string | undefined): Pod | undefined {
  const made = ({ metadata }: Pod): string => metadata.creationTimestamp ?? "";
  const ready = pods.filter(isReady).sort((a, b) => made(b).localeCompare(made(a)));
  return ready.find(({ metadata }) => metadata.name === told) ?? ready[0];
}

const isReady = ({ metadata, status }: Pod): boolean =>
  metadata.deletionTimestamp === undefined &&
  (status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false);
