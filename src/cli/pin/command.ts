import type { Checkpoint } from "../../api/checkpoint.ts";
import { checkpoints, requests } from "../../api/kinds.ts";
import { PINNED_ANNOTATION } from "../../api/labels.ts";
import { isConflict } from "../../kube/errors.ts";
import { ownerReference } from "../../kube/owner.ts";
import type { ObjectMeta } from "../../kube/resources.ts";
import type { Connection } from "../cluster.ts";

/** How often a change is decided anew, when others keep changing the object. */
const TRIES = 5;

export const isPinned = ({ metadata }: Checkpoint): boolean =>
  metadata.annotations?.[PINNED_ANNOTATION] === "true";

/**
 * Pins a Checkpoint, or takes that back. A pinned one has no owner, so that nothing's deletion takes it along; one that
 * is let go belongs to its request again, where that still exists.
 *
 * Errors: those of the API.
 */
export async function setPinned(
  connection: Connection,
  name: string,
  pinned: boolean,
  signal: AbortSignal,
): Promise<{ changed: boolean }> {
  const { client, namespace } = connection;
  for (let tries = 1; ; tries++) {
    const checkpoint = await client.get(checkpoints, { namespace, name }, { signal });
    if (isPinned(checkpoint) === pinned) return { changed: false };
    const metadata = {
      // Against what was read: an owner that came meanwhile is not lost.
      resourceVersion: checkpoint.metadata.resourceVersion,
      annotations: { [PINNED_ANNOTATION]: pinned ? "true" : null },
      ownerReferences: pinned ? null : await ownersOf(connection, checkpoint, signal),
    };
    try {
      await client.patch(checkpoints, { namespace, name }, { type: "merge", body: { metadata } }, { signal });
      return { changed: true };
    } catch (error) {
      if (!isConflict(error) || tries >= TRIES) throw error;
    }
  }
}

async function ownersOf(
  { client, namespace }: Connection,
  { metadata }: Checkpoint,
  signal: AbortSignal,
): Promise<ObjectMeta["ownerReferences"]> {
  const { items } = await client.listAll(requests, { namespace, signal });
  const request = items.find(({ status }) => {
    const { name, uid } = status?.checkpoint ?? {};
    return name === metadata.name && (uid === undefined || uid === metadata.uid);
  });
  if (request === undefined) return metadata.ownerReferences;
  // As its agent made it.
  return [{ ...ownerReference(request), blockOwnerDeletion: false }];
}
