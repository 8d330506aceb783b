import { z } from "zod";
import type { KubeObject } from "../kube/resources.ts";
import { conditions, labelName, objectName, rules, time } from "./common.ts";

export const DEFAULT_TTL_SECONDS = 600;
export const MIN_TTL_SECONDS = 30;
export const MAX_TTL_SECONDS = 3600;

/** An X25519 public key: its 32 bytes in base64url. See sealed-token.ts. */
export const PUBLIC_KEY = /^x25519:[A-Za-z0-9_-]{43}$/;

export const downloadSpec = z
  .object({
    checkpointName: objectName.describe("The Checkpoint, of the same namespace, whose archive is wanted."),
    publicKey: z
      .string()
      .max(64)
      .regex(PUBLIC_KEY)
      .describe("Whose holder may have it: x25519: and the key's 32 bytes in base64url."),
    ttlSeconds: z
      .int()
      .min(MIN_TTL_SECONDS)
      .max(MAX_TTL_SECONDS)
      .default(DEFAULT_TTL_SECONDS)
      .describe("So long after it was made it opens nothing any more, and is deleted."),
  })
  .meta(rules({ rule: "self == oldSelf", message: "a CheckpointDownload does not change: make a new one" }));
export type DownloadSpec = z.input<typeof downloadSpec>;

export const downloadPhase = z.enum(["Pending", "Ready", "Failed"]);
export type DownloadPhase = z.infer<typeof downloadPhase>;

/** Where the download part answers: a port of a pod, which nothing but a port-forward reaches. */
export const downloadEndpoint = z.object({
  namespace: labelName,
  podName: objectName,
  port: z.int().min(1).max(65_535),
});
export type DownloadEndpoint = z.infer<typeof downloadEndpoint>;

export const downloadStatus = z.object({
  phase: downloadPhase.optional(),
  reason: z
    .string()
    .max(256)
    .optional()
    .describe("Stable error code of a Failed download, or what it waits for."),
  message: z.string().max(32768).optional(),
  sealedToken: z.string().max(512).optional().describe("The token, which spec.publicKey's holder can read."),
  tokenHash: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional()
    .describe("sha256 of the token: what the download part knows of it."),
  expirationTime: time.optional().describe("When the token opens nothing any more."),
  digest: z.string().max(128).optional().describe("sha256 of the archive."),
  sizeBytes: z.int().min(0).optional(),
  endpoint: downloadEndpoint.optional(),
  conditions: conditions.optional(),
});
export type DownloadStatus = z.infer<typeof downloadStatus>;

/** Asks for the bytes of one Checkpoint: who may create it in a namespace may read the memory of its containers. */
export interface CheckpointDownload extends KubeObject {
  spec: DownloadSpec;
  status?: DownloadStatus;
}

/** Namespace of the download part, which is alone in it, and the name of its pods' label and its account. */
export const DOWNLOAD_NAMESPACE = "kcr-download";
export const DOWNLOAD_ACCOUNT = "kcr-download";
/** The port, on its pod's loopback. */
export const DOWNLOAD_PORT = 8445;

/** When a download ends, in milliseconds since 1970; NaN before the API server has taken it. */
export const endOf = ({ metadata, spec }: CheckpointDownload): number =>
  Date.parse(metadata.creationTimestamp ?? "") + (spec.ttlSeconds ?? DEFAULT_TTL_SECONDS) * 1000;

/** Whether it still entitles anyone to anything. */
export const isLive = (download: CheckpointDownload, now: Date): boolean =>
  download.metadata.deletionTimestamp === undefined && endOf(download) > now.getTime();
