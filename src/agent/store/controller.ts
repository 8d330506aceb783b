import { type Checkpoint, type CheckpointStatus, LOCAL_COPY } from "../../api/checkpoint.ts";
import { findCondition } from "../../api/conditions.ts";
import { asKcrError, type ErrorCode, KcrError } from "../../api/errors.ts";
import { checkpoints } from "../../api/kinds.ts";
import { again, Controller, changesOf, done, type Outcome, type Source } from "../../kube/controller.ts";
import type { ObjectName } from "../../kube/resources.ts";
import { absent, updateStatus } from "../../kube/write.ts";
import { CORRUPT_MARK, contentDigest as digestOfContent } from "../../store/copy.ts";
import { archiveName } from "../archives.ts";
import { BY_POD_UID, type Context } from "../context.ts";
import { copyOf } from "../plan/copies.ts";
import { watchTree } from "../plan/watch-tree.ts";
import { untilDeleted } from "../until-deleted.ts";
import { decideCopy, type Holdings, mayHaveCopy, wantedCopies } from "./decide.ts";
import { obtain } from "./obtain.ts";
import { hasImage } from "./sources.ts";
import { copied, isOnNode, uncopied } from "./status.ts";

/** Copies that are made at once: each is a stream to the same disk. */
const WORKERS = 2;
/** How soon the copies are looked at again, whether or not a change was heard of, in milliseconds. */
const RESYNC_MS = 60_000;

/**
 * Keeps an unpacked copy of each container's newest Checkpoints on the node that they were taken on.
 *
 * Flow: an archive is unpacked and verified -> its Checkpoint tells of the copy, and is good by it -> newer ones
 * take its place, unless a plan names it or a container runs from it. A copy that somebody found damaged is made
 * anew, from the archive while there is one, else from the image. Deletion is the image controller's.
 * Guarantees: a Checkpoint tells of a copy only when that was read back whole; of a copy that is to go it tells no
 * more before it goes; killed at any point it goes on where it was; why there is no copy stands in the condition
 * LocalCopy. Where nothing is pushed the archive is removed once its copy is told of, and never before.
 */
export function copyController(context: Context): Controller {
  return new Controller({
    name: "copy",
    log: context.log,
    metrics: context.metrics,
    workers: WORKERS,
    backoff: { baseMs: 1_000, maxMs: 60_000, jitter: 0.2 },
    reconcile: copyReconciler(context),
    sources: [changesOf(context.caches.checkpoints, neighbours(context)), damage(context)],
  });
}

/** Whose copies may make room, or get room, when this Checkpoint changes; itself among them. */
const neighbours = ({ caches, settings }: Context) => {
  const names = (all: Checkpoint[]): ObjectName[] => all.map(({ metadata }) => metadata);
  return ({ metadata, spec, status }: Checkpoint): ObjectName[] => {
    if (settings.local.maxBytes !== undefined) return [metadata, ...names(caches.checkpoints.list())];
    const ofPod = caches.checkpoints.byIndex(BY_POD_UID, status?.lineage?.podUID ?? "");
    return [metadata, ...names(ofPod.filter((other) => other.spec.containerName === spec.containerName))];
  };
};

/** Marks of damage that the handler or a scrub left: names the Checkpoints whose copies they are on. */
function damage({ caches, layout, log }: Context): Source {
  return {
    subscribe(enqueue) {
      const changed = ([copy, file]: readonly string[]): void => {
        if (file !== CORRUPT_MARK) return;
        for (const checkpoint of caches.checkpoints.list()) {
          if (copyOf(checkpoint) === copy) enqueue(checkpoint.metadata);
        }
      };
      const watched = watchTree(layout.copies, 1, changed, log);
      return () => watched[Symbol.dispose]();
    },
    async waitForSync() {},
  };
}

/** One look at one Checkpoint; see {@link copyController}. */
export function copyReconciler(
  context: Context,
): (name: ObjectName, signal: AbortSignal) => Promise<Outcome> {
  const { node, client, settings, archives, store, pins, locks, caches, recorder, log, now } = context;
  const { store: kept } = settings;
  const here = { node, store: kept };
  /** Found out once for all Checkpoints there are, until one changes. */
  let wanted: Set<string> | undefined;
  caches.checkpoints.subscribe(() => {
    wanted = undefined;
  });

  return async (name, signal) => {
    const cached = caches.checkpoints.get(name.namespace, name.name);
    if (cached === undefined || !mayHaveCopy(cached, kept)) return done;
    using _lock = await locks.take(cached.metadata.uid ?? "");
    const holdings = await holdingsOf(cached);
    if (decideCopy(cached, holdings, here).type === "nothing") {
      return holdings.copy === "none" && !holdings.isWanted ? done : again(RESYNC_MS);
    }
    // Not the cache: what it does not know yet would be made a second time.
    const checkpoint = await client.get(checkpoints, name, { signal }).catch(absent);
    if (checkpoint === undefined || checkpoint.metadata.uid !== cached.metadata.uid) return done;
    const decision = decideCopy(checkpoint, await holdingsOf(checkpoint), here);
    switch (decision.type) {
      case "nothing":
        return again(RESYNC_MS);
      case "make":
        return await untilDeleted(caches.checkpoints, checkpoint, signal, (limit) =>
          make(checkpoint, decision.from, limit),
        );
      case "record":
        await record(checkpoint);
        return done;
      case "release-archive":
        await archives.remove(checkpoint.spec.checkpointData);
        return again(RESYNC_MS);
      case "drop":
        await drop(checkpoint);
        return done;
      case "lost":
        await lose(checkpoint);
        return done;
      default:
        return decision satisfies never;
    }
  };

  async function holdingsOf(checkpoint: Checkpoint): Promise<Holdings> {
    const { checkpointData } = checkpoint.spec;
    const copy = copyOf(checkpoint);
    const found = copy === undefined ? undefined : await store.find(copy);
    wanted ??= wantedCopies(caches.checkpoints.list(), settings);
    const isWanted = wanted.has(checkpoint.metadata.uid ?? "");
    return {
      copy: found === undefined ? "none" : found.corrupt ? "corrupt" : "whole",
      hasArchive:
        archiveName.safeParse(checkpointData).success && (await archives.find(checkpointData)) !== undefined,
      hasImage: hasImage(checkpoint, settings),
      isWanted,
      isPinned: !isWanted && found !== undefined && (await pins.read()).has(found.digest),
    };
  }

  async function make(
    checkpoint: Checkpoint,
    from: ("archive" | "image")[],
    signal: AbortSignal,
  ): Promise<Outcome> {
    try {
      const { copy, contentDigest, dumpError } = await obtain(context, checkpoint, from, signal);
      await write(checkpoint, (status) =>
        copied(status, { ...here, copy, contentDigest, dumpError, now: now() }),
      );
      log.info({ ...nameFields(checkpoint), copy }, "a copy of the checkpoint is on the node");
      report(checkpoint, "Normal", "CopyVerified", `node ${node} has a verified copy`);
      return done;
    } catch (error) {
      signal.throwIfAborted();
      const told = asKcrError(error);
      await writeFailure(checkpoint, told);
      // The same archive would be refused again.
      if (told.code === "ArchiveInvalid" || told.code === "ArchiveMissing") return done;
      throw error;
    }
  }

  async function record(checkpoint: Checkpoint): Promise<void> {
    const copy = copyOf(checkpoint) ?? "";
    const { index } = (await store.find(copy)) ?? {};
    const contentDigest = index && digestOfContent(index);
    await write(checkpoint, (status) => copied(status, { ...here, copy, contentDigest, now: now() }));
  }

  /** Told first, so that nobody counts on a copy that goes. */
  async function drop(checkpoint: Checkpoint): Promise<void> {
    const { name } = checkpoint.metadata;
    const error = new KcrError(
      "CopyDropped",
      `newer ones have the room of Checkpoint ${name} on node ${node}`,
    );
    const hadCopy = isOnNode(checkpoint.status ?? {}, node);
    await write(checkpoint, (status) => uncopied(status, { ...here, error, now: now() }));
    const copy = copyOf(checkpoint);
    if (copy !== undefined) await store.remove(copy);
    if (kept !== "node") return;
    await archives.remove(checkpoint.spec.checkpointData);
    if (hadCopy) report(checkpoint, "Normal", error.code, error.advice);
  }

  async function lose(checkpoint: Checkpoint): Promise<void> {
    const hadCopy = isOnNode(checkpoint.status ?? {}, node);
    const code: ErrorCode = hadCopy ? "CopyCorrupt" : "ArchiveMissing";
    const what = hadCopy ? "the copy is damaged or gone" : "there is no archive to make a copy of";
    const { name } = checkpoint.metadata;
    await writeFailure(checkpoint, new KcrError(code, `Checkpoint ${name} on node ${node}: ${what}`));
    const copy = copyOf(checkpoint);
    if (copy !== undefined) await store.remove(copy);
  }

  /** Says why there is no copy, once per reason: a text that differs each time must not make a change of its own. */
  async function writeFailure(checkpoint: Checkpoint, error: KcrError): Promise<void> {
    const isFailed = kept === "node" && (error.code === "ArchiveInvalid" || error.code === "ArchiveMissing");
    const old = findCondition(checkpoint.status?.conditions, LOCAL_COPY);
    if (old?.status === "False" && old.reason === error.code && !isOnNode(checkpoint.status ?? {}, node))
      return;
    await write(checkpoint, (status) => ({
      ...uncopied(status, { ...here, error, now: now() }),
      ...(isFailed
        ? { phase: "Failed", failedReason: error.advice, lastTransitionTime: now().toISOString() }
        : {}),
    }));
    log.warn(
      { ...nameFields(checkpoint), code: error.code, err: error },
      "the checkpoint has no copy on the node",
    );
    report(checkpoint, "Warning", error.code, error.advice);
  }

  async function write(
    checkpoint: Checkpoint,
    next: (status: CheckpointStatus) => CheckpointStatus,
  ): Promise<void> {
    await updateStatus(client, checkpoints, checkpoint, ({ metadata, status = {} }) =>
      metadata.deletionTimestamp === undefined ? next(status) : undefined,
    );
  }

  function report(regarding: Checkpoint, type: "Normal" | "Warning", reason: string, note: string): void {
    recorder.record({ regarding, type, reason, action: "Copy", note });
  }
}

const nameFields = ({ metadata: { namespace, name } }: Checkpoint) => ({ namespace, checkpoint: name });
