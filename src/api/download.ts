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

/**
 * What the download part is asked: HTTP/1.1 over a port-forward to its pod.
 *
 *   GET or HEAD /v1/downloads/<namespace>/<name of the CheckpointDownload>/archive
 *   Authorization: Bearer <token>
 *   Range: bytes=N-M or bytes=N-        at most one range; without it, all
 *
 * Answers: 200 and 206 with the archive's bytes, its digest in `ETag` and where they come from in `X-Kcr-Source`; 401
 * to whoever shows no token that is valid now, whatever else was asked; to others 404 and 503 with {@link DownloadRefusal}
 * as JSON, and 416 to a range that is none. What is being sent ends when the token's time does.
 */
export const downloadPath = (namespace: string, name: string): string =>
  `/v1/downloads/${namespace}/${name}/archive`;

const DOWNLOAD_PATH = /^\/v1\/downloads\/([a-z0-9-]{1,63})\/([a-z0-9.-]{1,253})\/archive$/;

/** The object that is asked for; undefined for any other path. */
export function parseDownloadPath(path: string): { namespace: string; name: string } | undefined {
  const [, namespace, name] = DOWNLOAD_PATH.exec(path) ?? [];
  if (namespace === undefined || !labelName.safeParse(namespace).success) return undefined;
  return name !== undefined && objectName.safeParse(name).success ? { namespace, name } : undefined;
}

/** Why nothing is sent to somebody who may have it. */
export const downloadRefusal = z.object({ code: z.string().max(64), message: z.string().max(4096) });
export type DownloadRefusal = z.infer<typeof downloadRefusal>;

/** When a download ends, in milliseconds since 1970; NaN before the API server has taken it. */
export const endOf = ({ metadata, spec }: CheckpointDownload): number =>
  Date.parse(metadata.creationTimestamp ?? "") + (spec.ttlSeconds ?? DEFAULT_TTL_SECONDS) * 1000;

/** Whether it still entitles anyone to anything. */
export const isLive = (download: CheckpointDownload, now: Date): boolean =>
  download.metadata.deletionTimestamp === undefined && endOf(download) > now.getTime();
