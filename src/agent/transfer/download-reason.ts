import { isLive } from "../../api/download.ts";
import { checkpoints, downloads } from "../../api/kinds.ts";
import type { Client } from "../../kube/client.ts";
import { absent } from "../../kube/write.ts";
import { copyOf } from "../plan/copies.ts";

/** How long a reason counts without being looked for again, in milliseconds: a copy is many files. */
const REMEMBERED_MS = 30_000;

/**
 * Whether the download part has a reason to have a copy of this node: somebody has asked, with a CheckpointDownload
 * whose time is not over, for a Checkpoint with that archive which was taken here. The API server itself is asked. Of
 * Checkpoints of other nodes it is not this one's to say what they are: their agents write what their archive is.
 */
export function downloadReason({ client, node, now }: { client: Client; node: string; now(): Date }) {
  /** When a reason that was found is to be looked for again, by copy. */
  const known = new Map<string, number>();

  return async (copy: string, signal: AbortSignal): Promise<boolean> => {
    const time = now().getTime();
    for (const [other, until] of known) if (until <= time) known.delete(other);
    if (known.has(copy)) return true;
    const hasReason = await lookUp(copy, signal);
    if (hasReason) known.set(copy, time + REMEMBERED_MS);
    return hasReason;
  };

  async function lookUp(copy: string, signal: AbortSignal): Promise<boolean> {
    const { items } = await client.listAll(downloads, { signal });
    for (const download of items.filter((download) => isLive(download, now()))) {
      // What the operator says it is; where it says nothing yet, nothing is served.
      if (download.status?.digest !== `sha256:${copy}`) continue;
      const name = { namespace: download.metadata.namespace, name: download.spec.checkpointName };
      const checkpoint = await client.get(checkpoints, name, { signal }).catch(absent);
      if (checkpoint?.spec.nodeName === node && copyOf(checkpoint) === copy) return true;
    }
    return false;
  }
}
