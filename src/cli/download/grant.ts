import {
  type CheckpointDownload,
  DOWNLOAD_NAMESPACE,
  type DownloadEndpoint,
  downloadPath,
} from "../../api/download.ts";
import { KcrError } from "../../api/errors.ts";
import { API_VERSION } from "../../api/group.ts";
import { downloads } from "../../api/kinds.ts";
import { createTokenKey, openToken } from "../../api/sealed-token.ts";
import type { Client } from "../../kube/client.ts";
import { isForbidden, isNotFound } from "../../kube/errors.ts";
import type { ObjectName } from "../../kube/resources.ts";
import { delay } from "../../kube/signals.ts";
import { told } from "../errors.ts";

/** What a CheckpointDownload has opened. */
export interface Grant {
  name: ObjectName;
  path: string;
  token: string;
  /** Where it is answered. */
  pod: ObjectName;
  port: number;
  /** sha256 of the archive, `sha256:<hex>`. */
  digest: string;
}

const POLL_MS = 100;
/** How long nobody need say anything, and how long there may be a reason to wait. */
const PATIENCE_MS = 20_000;
/** A name, a hyphen and what the API server appends. */
const STEM = 200;

/**
 * Asks for the bytes of a Checkpoint, and waits until they are offered. The object is to be taken back (`giveBack`).
 *
 * Errors: KcrError DownloadForbidden where RBAC does not let the caller; what the object says; ApiError and
 * ConnectionError; the signal's reason. No object is left then.
 */
export async function askFor(client: Client, checkpoint: ObjectName, signal: AbortSignal): Promise<Grant> {
  signal.throwIfAborted();
  const { namespace } = checkpoint;
  const key = createTokenKey();
  // Without the signal: a creation that is cut off may have been done, and nobody would know what to give back.
  const asked = await client
    .create(downloads, {
      apiVersion: API_VERSION,
      kind: downloads.kind,
      metadata: { generateName: `${checkpoint.name.slice(0, STEM)}-`, namespace },
      spec: { checkpointName: checkpoint.name, publicKey: key.publicKey },
    })
    .catch((cause: unknown) => {
      if (!isForbidden(cause)) throw cause;
      const what = `the Checkpoints of namespace ${namespace} are not yours to read`;
      throw new KcrError("DownloadForbidden", what, { cause });
    });
  const name = { namespace, name: asked.metadata.name };
  try {
    const { status } = await offered(client, asked, signal);
    const { sealedToken = "", digest = "", endpoint } = status ?? {};
    if (endpoint === undefined) throw told(undefined, "the download part is nowhere");
    return {
      name,
      path: downloadPath(namespace ?? "", name.name),
      token: openToken(sealedToken, key, asked.metadata),
      ...answererOf(endpoint),
      digest,
    };
  } catch (error) {
    await giveBack(client, name);
    throw error;
  }
}

/** What is offered may have moved to another pod. Errors: KcrError DownloadEnded where the object is gone. */
export async function followed(client: Client, grant: Grant, signal: AbortSignal): Promise<Grant> {
  const now = await client.get(downloads, grant.name, { signal }).catch((cause: unknown) => {
    if (!isNotFound(cause)) throw cause;
    throw new KcrError("DownloadEnded", `CheckpointDownload ${grant.name.name} is gone`, { cause });
  });
  const { endpoint, digest = grant.digest } = now.status ?? {};
  if (endpoint === undefined) return grant;
  return { ...grant, ...answererOf(endpoint), digest };
}

/** Errors: KcrError for one outside the download part's namespace, where whoever runs a pod would be shown the token. */
function answererOf({ namespace, podName, port }: DownloadEndpoint): Pick<Grant, "pod" | "port"> {
  if (namespace === DOWNLOAD_NAMESPACE) return { pod: { namespace, name: podName }, port };
  const what = `pod ${podName} in namespace ${namespace} is offered as the download part, which is in ${DOWNLOAD_NAMESPACE}`;
  throw new KcrError("DownloadUnavailable", what);
}

/** Takes the object away, so that its token opens nothing any more; if that fails, its time does. */
export async function giveBack(client: Client, name: ObjectName): Promise<void> {
  await client.delete(downloads, name, { timeoutMs: 5_000 }).catch(() => {});
}

async function offered(
  client: Client,
  asked: CheckpointDownload,
  signal: AbortSignal,
): Promise<CheckpointDownload> {
  const end = performance.now() + PATIENCE_MS;
  for (;;) {
    const now = await client.get(downloads, asked.metadata, { signal });
    const { phase, reason, message = "" } = now.status ?? {};
    if (phase === "Ready") return now;
    if (phase === "Failed") throw told(reason, message);
    if (performance.now() > end) {
      if (phase === "Pending") throw told(reason, message);
      const what = `nobody has answered CheckpointDownload ${asked.metadata.name}: kcr's operator does not run`;
      throw new KcrError("DownloadUnavailable", what);
    }
    await delay(POLL_MS, signal);
  }
}
