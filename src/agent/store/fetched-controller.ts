import { fetchedText } from "../../api/fetched.ts";
import { FETCHED_ANNOTATION } from "../../api/labels.ts";
import { again, Controller, changesOf, done, type Outcome, type Source } from "../../kube/controller.ts";
import { nodes } from "../../kube/resources.ts";
import type { Context } from "../context.ts";
import { copyOf } from "../plan/copies.ts";
import { watchTree } from "../plan/watch-tree.ts";
import type { Copy } from "./store.ts";

/** How soon the copies are looked at again, whether or not a change was heard of, in milliseconds. */
const RESYNC_MS = 60_000;
/** A copy that is younger may be of a Checkpoint of this node that does not say so yet, in milliseconds. */
const YOUNG_MS = 5_000;

/**
 * Says on the agent's own node which copies it has of Checkpoints that were taken on others: the annotation
 * kcr.io/fetched-copies, from which the operator tells of them in those Checkpoints.
 *
 * Guarantees: what somebody else writes there does not stay. A damaged copy is none.
 */
export function fetchedController(context: Context): Controller {
  const { node, client, caches, store, layout, log, metrics, now } = context;

  const reconcile = async (): Promise<Outcome> => {
    const current = caches.nodes.get(undefined, node);
    if (current === undefined) return done;
    const own = new Set(caches.checkpoints.list().map(copyOf));
    const others = (await store.list()).filter(({ digest, corrupt }) => !corrupt && !own.has(digest));
    const isOld = ({ made }: Copy): boolean => now().getTime() - made.getTime() >= YOUNG_MS;
    const text = fetchedText(others.filter(isOld).map(({ digest }) => digest));
    if (current.metadata.annotations?.[FETCHED_ANNOTATION] !== text) {
      const metadata = { annotations: { [FETCHED_ANNOTATION]: text ?? null } };
      await client.patch(nodes, { name: node }, { type: "merge", body: { metadata } });
    }
    return again(others.every(isOld) ? RESYNC_MS : YOUNG_MS);
  };

  const changes: Source = {
    subscribe(enqueue) {
      const watched = watchTree(layout.copies, 1, () => enqueue({ name: node }), log);
      return () => watched[Symbol.dispose]();
    },
    waitForSync: (signal) => caches.checkpoints.waitForSync(signal),
  };

  return new Controller({
    name: "fetched",
    log,
    metrics,
    backoff: { baseMs: 1_000, maxMs: 60_000, jitter: 0.2 },
    reconcile,
    sources: [changesOf(caches.nodes), changes],
  });
}
