import { ARCHIVE_FINALIZER, type Checkpoint } from "../../api/checkpoint.ts";
import { checkpoints } from "../../api/kinds.ts";
import type { Change } from "../../kube/cache.ts";
import { delay, follow } from "../../kube/signals.ts";
import type { Context } from "../context.ts";
import { sweepArchives } from "../dump/sweep.ts";
import { copyOf } from "../plan/copies.ts";
import { scrub } from "../scrub.ts";
import { sweepForeign } from "../sweep/archives.ts";

const HOUR_MS = 3_600_000;
/** How often copies and archives are looked for that belong to nothing, in milliseconds. */
const SWEEP_MS = 300_000;
/**
 * How soon after the agent's start, and after Checkpoints went for which it was not waited for; twice as long the next
 * time, and so on, for what is kept for their pods goes after them. In milliseconds.
 */
const SOON_MS = 2_000;
/** What came of a copy that was never finished is kept so long for another try, in milliseconds. */
const UNFINISHED_MS = HOUR_MS;
/** A copy that is younger may be of a Checkpoint whose digest is not written down yet, in milliseconds. */
const YOUNG_MS = 600_000;

/**
 * Looks after the store as a whole, until the signal aborts: it is scrubbed every so many hours, and at once after an
 * agent that was killed or a node that lost its power; copies and archives that belong to nothing are removed, at once
 * when a Checkpoint went for which this agent was not waited for.
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
  let wasClean = false;
  await guarded("whether the last agent ended as it should is not known", async () => {
    wasClean = await store.wasCleanlyStopped();
  });
  await caches.checkpoints.waitForSync(signal);
  let scrubbed = performance.now();
  let isDue = !wasClean;
  let pauseMs = SOON_MS;
  let went = new AbortController();
  caches.checkpoints.subscribe((change) => {
    if (isUnseen(change)) went.abort(new Error("a Checkpoint went"));
  });
  for (;;) {
    went = new AbortController();
    await guarded("copies that belong to nothing could not be removed", () => sweep(context));
    await guarded("archives that belong to nothing could not be removed", () =>
      sweepArchives(context, signal),
    );
    await guarded("archives of others could not be removed", () => sweepForeign(context, signal));
    await guarded("files of unfinished copies could not be removed", () => sweepIncoming(context));
    if (isDue) {
      await guarded("the scrub was not finished", () => scrubAndTell(context, signal));
      scrubbed = performance.now();
    }
    await delayUnless(went.signal, pauseMs, signal);
    pauseMs = went.signal.aborted ? SOON_MS : Math.min(2 * pauseMs, SWEEP_MS);
    isDue = performance.now() - scrubbed >= settings.local.scrubHours * HOUR_MS;
  }
}

/** Resolves after so many milliseconds, or soon after one `went`. Errors: the signal's reason. */
async function delayUnless(went: AbortSignal, ms: number, signal: AbortSignal): Promise<void> {
  using due = follow(signal);
  const wake = () => due.abort(went.reason);
  if (went.aborted) wake();
  else went.addEventListener("abort", wake, { once: true });
  try {
    await delay(ms, due.signal);
  } catch {
    await delay(SOON_MS, signal);
  }
}

/** Whether it went though its agent had not let go of it. */
const isUnseen = ({ type, object }: Change<Checkpoint>): boolean =>
  type === "delete" && (object.metadata.finalizers ?? []).includes(ARCHIVE_FINALIZER);

async function scrubAndTell({ store, log }: Context, signal: AbortSignal): Promise<void> {
  const { checked, corrupt } = await scrub(store, signal);
  for (const { copy, problems } of corrupt) log.error({ copy, problems }, "a copy is damaged");
  log.info({ checked, corrupt: corrupt.length }, "all copies were read");
}

/** Removes the copies of no Checkpoint of this node that nothing else counts on. */
export async function sweep({ node, client, store, caches, pins, log, now }: Context): Promise<void> {
  // In this order: what is made, pinned or told of from here on is not looked at, or known.
  const copies = await store.list();
  const pinned = await pins.read();
  const known = new Set(caches.checkpoints.list().map(copyOf));
  const isTold = !known.has(undefined);
  const strays = copies.filter(
    ({ digest, made }) =>
      !known.has(digest) && !pinned.has(digest) && (isTold || now().getTime() - made.getTime() >= YOUNG_MS),
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
