import type { Checkpoint } from "../api/checkpoint.ts";
import type { Cache } from "../kube/cache.ts";
import { done, type Outcome } from "../kube/controller.ts";
import { follow } from "../kube/signals.ts";

/** Runs `work` until it ends or the Checkpoint is being deleted; its deletion is what is looked at next then. */
export async function untilDeleted(
  cache: Cache<Checkpoint>,
  { metadata }: Checkpoint,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<Outcome>,
): Promise<Outcome> {
  using limit = follow(signal);
  let deleted = false;
  const unsubscribe = cache.subscribe(({ type, object }) => {
    if (object.metadata.uid !== metadata.uid) return;
    if (type === "apply" && object.metadata.deletionTimestamp === undefined) return;
    deleted = true;
    limit.abort(new Error("the Checkpoint is being deleted"));
  });
  try {
    return await work(limit.signal);
  } catch (error) {
    if (deleted && !signal.aborted) return done;
    throw error;
  } finally {
    unsubscribe();
  }
}
