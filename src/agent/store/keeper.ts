import { checkpoints } from "../../api/kinds.ts";
import { delay } from "../../kube/signals.ts";
import type { Context } from "../context.ts";
import { copyOf } from "../plan/copies.ts";
import { scrub } from "../scrub.ts";
import { sweepArchives } from "../sweep/archives.ts";

const HOUR_MS = 3_600_000;
/** How often copies are looked for that belong to nothing, in milliseconds. */
const SWEEP_MS = 300_000;
/** What came of a copy that was never finished is kept so long for another try, in milliseconds. */
const UNFINISHED_MS = HOUR_MS;
/** A copy that is younger may belong to what is not written down yet, in milliseconds. */
const YOUNG_MS = 600_000;

/**
 * Looks after the store as a whole, until the signal aborts: it is scrubbed every so many hours, and at once after an
 * agent that was killed or a node that lost its power; copies that belong to nothing are removed.
 */
export async function keepStore(context: Context, signal: AbortSignal): Promise<void> {
  try {
    await keep(context, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

async function keep(context: Context, signal: AbortSignal): Promise<never> {
  const { store, caches, settings, log } = context;
  const guarded = async (what: string, work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (err) {
      if (!signal.aborted) log.error({ err }, what);
    }
  };
  const wasClean = await store.wasCleanlyStopped();
  await caches.checkpoints.waitForSync(signal);
  let scrubbed = performance.now();
  let isDue = !wasClean;
  for (;;) {
    if (isDue) {
      await guarded("the scrub was not finished", () => scrubAndTell(context, signal));
      scrubbed = performance.now();
    }
    await guarded("copies that belong to nothing could not be removed", () => sweep(context));
    await guarded("archives that belong to nothing could not be removed", () =>
      sweepArchives(context, signal),
    );
    await guarded("files of unfinished copies could not be removed", () => sweepIncoming(context));
    await delay(SWEEP_MS, signal);
    isDue = performance.now() - scrubbed >= settings.local.scrubHours * HOUR_MS;
  }
}

async function scrubAndTell({ store, log }: Context, signal: AbortSignal): Promise<void> {
  const { checked, corrupt } = await scrub(store, signal);
  for (const { copy, problems } of corrupt) log.error({ copy, problems }, "a copy is damaged");
  log.info({ checked, corrupt: corrupt.length }, "all copies were read");
}

/** Removes the copies of no Checkpoint of this node that nothing else counts on. */
export async function sweep({ node, client, store, caches, pins, log, now }: Context): Promise<void> {
  const known = new Set(caches.checkpoints.list().map(copyOf));
  const pinned = await pins.read();
  const strays = (await store.list()).filter(
    ({ digest, made }) =>
      !known.has(digest) && !pinned.has(digest) && now().getTime() - made.getTime() >= YOUNG_MS,
  );
  if (strays.length === 0) return;
  // Not the cache alone: on a word of before nothing is removed.
  const { items } = await client.listAll(checkpoints, { fieldSelector: `spec.nodeName=${node}` });
  const named = new Set(items.map(copyOf));
  for (const { digest } of strays) {
    if (named.has(digest)) continue;
    await store.remove(digest);
    log.info({ copy: digest }, "a copy that belongs to nothing was removed");
  }
}

/** Removes what came from other nodes of copies that nobody goes on with. */
export async function sweepIncoming({
  store,
  log,
  now,
}: Pick<Context, "store" | "log" | "now">): Promise<void> {
  for (const { archive, touched } of await store.incoming()) {
    if (now().getTime() - touched.getTime() < UNFINISHED_MS) continue;
    await store.dropIncoming(archive);
    log.info({ copy: archive }, "what had come of a copy was removed: nobody goes on with it");
  }
}
