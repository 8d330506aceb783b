import { checkpoints, restores } from "../../api/kinds.ts";
import type { Client } from "../../kube/client.ts";
import { absent } from "../../kube/write.ts";
import { isToArm } from "../plan/arm.ts";
import { copyOf } from "../plan/copies.ts";

/** How long a reason counts without being looked for again, in milliseconds: a copy is many files. */
const REMEMBERED_MS = 60_000;
/** Reasons that are remembered. */
const REMEMBERED = 1000;

/**
 * Whether a node has a reason to have a copy of this one: somebody has asked, with a CheckpointRestore that is under
 * way there, for a container on that node to go back to a Checkpoint with that archive. The API server itself is asked,
 * not a cache: that the agent of the node says so counts for nothing. Nor does a Checkpoint of its own node, unless
 * that is this one too: it could have written the digest of any archive into that.
 */
export function reasons({ client, node: self, now }: { client: Client; node: string; now(): Date }) {
  const known = new Map<string, number>();

  return async (node: string, copy: string, signal: AbortSignal): Promise<boolean> => {
    const key = `${node} ${copy}`;
    const time = now().getTime();
    if ((known.get(key) ?? 0) > time) return true;
    const hasReason = await lookUp(node, copy, signal);
    known.delete(key);
    if (hasReason) known.set(key, time + REMEMBERED_MS);
    const [oldest] = known.keys();
    if (known.size > REMEMBERED && oldest !== undefined) known.delete(oldest);
    return hasReason;
  };

  async function lookUp(node: string, copy: string, signal: AbortSignal): Promise<boolean> {
    const { items } = await client.listAll(restores, { fieldSelector: `status.nodeName=${node}`, signal });
    for (const restore of items.filter((restore) => isToArm(restore, node))) {
      const name = { namespace: restore.metadata.namespace, name: restore.spec.checkpointName };
      const checkpoint = await client.get(checkpoints, name, { signal }).catch(absent);
      if (checkpoint === undefined || copyOf(checkpoint) !== copy) continue;
      const { nodeName } = checkpoint.spec;
      if (nodeName === self || nodeName !== node) return true;
    }
    return false;
  }
}
