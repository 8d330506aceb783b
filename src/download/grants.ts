import type { Checkpoint } from "../api/checkpoint.ts";
import { endOf, isLive } from "../api/download.ts";
import { checkpoints, downloads } from "../api/kinds.ts";
import { isToken } from "../api/sealed-token.ts";
import type { Client } from "../kube/client.ts";
import type { ObjectName } from "../kube/resources.ts";
import { absent } from "../kube/write.ts";

/** What the holder of a token may have, and until when. */
export interface Grant {
  /** UID of the CheckpointDownload. */
  uid: string;
  checkpoint: Checkpoint;
  /** In milliseconds since 1970. */
  until: number;
}

/**
 * What a token opens of a CheckpointDownload: asked of the API server each time, so that one that was deleted opens
 * nothing any more.
 *
 * Errors: those of the API server; the signal's reason.
 */
export function grants({ client, now }: { client: Client; now(): Date }) {
  return async (name: ObjectName, token: string, signal: AbortSignal): Promise<Grant | undefined> => {
    const download = await client.get(downloads, name, { signal }).catch(absent);
    // Compared in any case: how long it takes is not to say whether there is such an object.
    const isRight = isToken(token, download?.status?.tokenHash);
    if (!isRight || download === undefined || !isLive(download, now())) return undefined;
    const { spec, status } = download;
    if (status?.phase !== "Ready") return undefined;
    const of = { namespace: name.namespace, name: spec.checkpointName };
    const checkpoint = await client.get(checkpoints, of, { signal }).catch(absent);
    // One that has taken its name since is not what was asked for.
    if (checkpoint === undefined || checkpoint.status?.digest !== status.digest) return undefined;
    return { uid: download.metadata.uid ?? "", checkpoint, until: endOf(download) };
  };
}
