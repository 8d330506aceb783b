import {
  ARCHIVE_FINALIZER,
  type Checkpoint,
  type CheckpointStatus,
  IMAGE_PUSHED,
} from "../../api/checkpoint.ts";
import type { Condition } from "../../api/common.ts";
import { findCondition, setCondition } from "../../api/conditions.ts";
import { KcrError } from "../../api/errors.ts";
import { imagePlace } from "../../api/images.ts";
import { checkpoints, requests } from "../../api/kinds.ts";
import { LABEL_POD } from "../../api/labels.ts";
import { imageTag } from "../../api/names.ts";
import { openRegistry, registryError } from "../../api/registry.ts";
import { pullAddress, registryOf } from "../../api/settings.ts";
import { again, Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import { keyOf } from "../../kube/owner.ts";
import type { ObjectName } from "../../kube/resources.ts";
import { absent, dropFinalizer, updateStatus, writeStatus } from "../../kube/write.ts";
import { pushCheckpointImage } from "../../oci/checkpoint-image.ts";
import { type Digest, isDigest } from "../../oci/digest.ts";
import { hasCode } from "../../oci/errors.ts";
import { goArchitecture } from "../../oci/image.ts";
import { verifyImage } from "../../oci/push.ts";
import { isPodUID } from "../../store/layout.ts";
import { archiveName, isNamed } from "../archives.ts";
import type { Context } from "../context.ts";
import { forgetBegun } from "../dump/begun.ts";
import { type Captured, inspect, isOf, ownerOf, unfit } from "../inspect.ts";
import { copyOf } from "../plan/copies.ts";
import { Slots } from "../slots.ts";
import { mayHaveCopy } from "../store/decide.ts";
import { restorable, unfinished, withPlace } from "../store/status.ts";
import { untilDeleted } from "../until-deleted.ts";
import { decideImage } from "./decide.ts";

/** Pushes at once: each is one stream, and two keep a node's uplink busy. */
const PUSHES = 2;
/** How soon to look again for room for a push, in milliseconds. */
const SLOT_POLL_MS = 500;
/** Checkpoints that are looked at at once: however slow the registry, those that are deleted do not wait for it. */
const WORKERS = 16;
/** How soon to look again whether a plan names a copy that is to go, in milliseconds, and for how long at most. */
const PLAN_POLL_MS = 200;
const UNPLANNED_MS = 30_000;

/**
 * Turns the archive of a Checkpoint into an image in the registry, and lets go of the archive then.
 *
 * Flow: Created -> Processing -> image pushed -> ImageBuilt -> image verified by digest -> archive removed ->
 * ARCHIVE_FINALIZER dropped, unless there may be a copy on the node: then it is kept to the end. A deletion on the
 * way ends the push; when no plan names it any more archive and copy go, then the finalizer.
 * Guarantees: an archive is removed only when its image was seen whole in the registry and no copy is to be made of
 * it any more, or its Checkpoint is being deleted; killed at any point it goes on where it was; while the registry refuses, the condition
 * ImagePushed says why and the push is tried again with growing pauses.
 */
export function imageController(context: Context): Controller {
  return new Controller({
    name: "image",
    log: context.log,
    metrics: context.metrics,
    workers: WORKERS,
    backoff: { baseMs: 1_000, maxMs: 60_000, jitter: 0.2 },
    reconcile: imageReconciler(context),
    sources: [changesOf(context.caches.checkpoints)],
  });
}

/** One look at one Checkpoint; see {@link imageController}. */
export function imageReconciler(
  context: Context,
): (name: ObjectName, signal: AbortSignal) => Promise<Outcome> {
  const { node, client, settings, ahead, archives, layout, store, pins, locks, caches, recorder, log, now } =
    context;
  const here = { node, store: settings.store };
  const slots = new Slots(PUSHES);
  /** What this agent may have pushed and has told nobody of. */
  const untold = new Map<string, { repository: string; tag: string }>();

  return async (name, signal) => {
    const cached = caches.checkpoints.get(name.namespace, name.name);
    if (cached === undefined) return await takeBack(name, signal);
    if (await isSettled(cached)) return done;
    // However many wait for a slow registry, the API server is not asked about them meanwhile.
    if (slots.isFull && decideImage(cached, node, settings.store).type === "push") return again(SLOT_POLL_MS);
    // Not the cache: what it does not know yet would be pushed a second time.
    const checkpoint = await client.get(checkpoints, name, { signal }).catch(absent);
    if (checkpoint === undefined) return await takeBack(name, signal);
    const decision = decideImage(checkpoint, node, settings.store);
    switch (decision.type) {
      case "nothing":
        return done;
      case "push":
        return await push(checkpoint, signal);
      case "release":
        return await release(checkpoint, decision, signal);
      case "remove":
        return await remove(checkpoint);
      default:
        return decision satisfies never;
    }
  };

  async function push(checkpoint: Checkpoint, signal: AbortSignal): Promise<Outcome> {
    using slot = slots.tryTake(checkpoint.metadata.uid ?? "");
    if (slot === undefined) return again(SLOT_POLL_MS);
    return await untilDeleted(caches.checkpoints, checkpoint, signal, (limit) => pushNow(checkpoint, limit));
  }

  async function pushNow(checkpoint: Checkpoint, signal: AbortSignal): Promise<Outcome> {
    let captured: Captured;
    try {
      captured = await inspect(archives, checkpoint.spec.checkpointData);
      if (!isOf(captured, ownerOf(checkpoint))) {
        throw new KcrError("ArchiveInvalid", `archive ${captured.name} is of another container`);
      }
      if (imagePlace(checkpoint, settings) === undefined) {
        const place = checkpoint.status?.checkpointImage;
        throw new KcrError("RegistryRefused", `${place} is no place for images of this namespace`);
      }
    } catch (error) {
      if (!(error instanceof KcrError)) throw error;
      await fail(checkpoint, error);
      return done;
    }
    const current =
      checkpoint.status?.phase === "Created"
        ? await writeStatus(client, checkpoints, checkpoint, {
            phase: "Processing",
            lastTransitionTime: now().toISOString(),
          })
        : checkpoint;
    const built = await pushImage(current, captured, signal).catch(async (error: unknown) => {
      signal.throwIfAborted();
      await reportRegistry(current, error);
      throw error;
    });
    const written = await writePushed(current, built);
    if (written === undefined) return again(0);
    untold.delete(keyOf(written.metadata));
    log.info({ ...nameFields(written), image: built.runtimeImage }, "checkpoint image pushed");
    report(written, "Normal", "ImagePushed", `pushed as ${built.runtimeImage}`);
    // The change of status brings it back here, to be released.
    return done;
  }

  /** A change of something else meanwhile, a label or a copy, must not let the whole be pushed again. */
  async function writePushed(pushed: Checkpoint, image: PushedImage): Promise<Checkpoint | undefined> {
    return await updateStatus(client, checkpoints, pushed, ({ metadata, status = {} }) => {
      if (metadata.deletionTimestamp !== undefined || status.phase === "Failed") return undefined;
      if (status.digest !== undefined && status.digest !== image.digest) {
        throw new KcrError("ArchiveInvalid", `the archive was ${status.digest} and is ${image.digest} now`);
      }
      return pushedStatus(status, image);
    });
  }

  /** The Checkpoint went while its image was pushed: nobody had waited for this agent, and nobody knows of the image. */
  async function takeBack(name: ObjectName, signal: AbortSignal): Promise<Outcome> {
    const image = untold.get(keyOf(name));
    if (image === undefined) return done;
    const { repository, tag } = image;
    await using registry = await openRegistry(settings, "kcr-agent");
    const found = await registry.headManifest(repository, tag, { signal });
    if (found !== undefined) await registry.deleteManifest(repository, found.digest, { signal });
    untold.delete(keyOf(name));
    if (found !== undefined) log.warn({ repository, tag }, "an image of no Checkpoint was taken back");
    return done;
  }

  async function pushImage(
    checkpoint: Checkpoint,
    captured: Captured,
    signal: AbortSignal,
  ): Promise<PushedImage> {
    const { metadata, status } = checkpoint;
    const repository = status?.checkpointImage ?? "";
    untold.set(keyOf(metadata), { repository, tag: imageTag(metadata.name) });
    const known = status?.digest ?? (await ahead?.take(captured.name, signal));
    await using registry = await openRegistry(settings, "kcr-agent");
    const image = await pushCheckpointImage({
      client: registry,
      repository,
      tag: imageTag(metadata.name),
      archive: captured.path,
      config: { architecture: captured.architecture ?? goArchitecture(), user: captured.user },
      annotations: captured.annotations,
      layerDigest: isDigest(known) ? known : undefined,
      signal,
    });
    return {
      runtimeImage: `${pullAddress(registryOf(settings))}/${repository}@${image.digest}`,
      imageDigest: image.digest,
      digest: image.layer.digest,
      sizeBytes: image.layer.size,
      dumpError: captured.dumpError,
    };
  }

  function pushedStatus(
    status: CheckpointStatus,
    { runtimeImage, imageDigest, digest, sizeBytes, dumpError }: PushedImage,
  ): CheckpointStatus {
    const time = now();
    const verifiedTime = time.toISOString();
    const copies = withPlace(status.copies, { kind: "Registry", image: runtimeImage, verifiedTime });
    const pushed = { type: IMAGE_PUSHED, status: "True", reason: "Pushed", message: runtimeImage } as const;
    const conditions = setCondition(status.conditions, pushed, time);
    const good = dumpError === undefined ? restorable({ conditions, copies }, here) : unfinished(dumpError);
    return {
      phase: "ImageBuilt",
      lastTransitionTime: verifiedTime,
      runtimeImage,
      imageDigest,
      digest,
      sizeBytes,
      copies,
      conditions: good === undefined ? conditions : setCondition(conditions, good, time),
    };
  }

  /** Not while a copy is being made: that ends by itself when it hears of the deletion. */
  async function remove(checkpoint: Checkpoint): Promise<Outcome> {
    using _lock = await locks.take(checkpoint.metadata.uid ?? "");
    // A crash at this moment is restored from another: the plan hears of the deletion too.
    const { deletionTimestamp = "" } = checkpoint.metadata;
    const isWaiting = now().getTime() - Date.parse(deletionTimestamp) < UNPLANNED_MS;
    if (isWaiting && (await pins.planned()).has(copyOf(checkpoint) ?? "")) return again(PLAN_POLL_MS);
    ahead?.drop(checkpoint.spec.checkpointData);
    await removeCopy(checkpoint);
    await removeArchive(checkpoint);
    const request = checkpoint.metadata.ownerReferences?.find(({ kind }) => kind === requests.kind);
    if (isPodUID(request?.uid)) await forgetBegun(layout, request.uid);
    await dropFinalizer(client, checkpoints, checkpoint, ARCHIVE_FINALIZER).catch(absent);
    untold.delete(keyOf(checkpoint.metadata));
    return done;
  }

  /** Nothing but an image seen whole in the registry frees the archive. */
  async function release(
    checkpoint: Checkpoint,
    { repository, digest }: { repository: string; digest: string },
    signal: AbortSignal,
  ): Promise<Outcome> {
    await using registry = await openRegistry(settings, "kcr-agent");
    try {
      await verifyImage(registry, repository, digest as Digest, { signal });
    } catch (error) {
      if (!hasCode(error, "not-found", "digest-mismatch")) throw error;
      log.warn(
        { ...nameFields(checkpoint), err: error },
        "the image is not whole in the registry; pushing again",
      );
      return await push(checkpoint, signal);
    }
    await removeArchive(checkpoint);
    if (!mayHaveCopy(checkpoint, settings.store)) {
      await dropFinalizer(client, checkpoints, checkpoint, ARCHIVE_FINALIZER).catch(absent);
    }
    return done;
  }

  /** Whether nothing is to be done, as far as can be told without asking anybody. */
  async function isSettled(checkpoint: Checkpoint): Promise<boolean> {
    const { type } = decideImage(checkpoint, node, settings.store);
    if (type !== "release" || !mayHaveCopy(checkpoint, settings.store)) return type === "nothing";
    const { checkpointData } = checkpoint.spec;
    return (
      !archiveName.safeParse(checkpointData).success || (await archives.find(checkpointData)) === undefined
    );
  }

  /** The copy is whoever's else it is too; a copy that is being made is waited for. */
  async function removeCopy(checkpoint: Checkpoint): Promise<void> {
    const { uid } = checkpoint.metadata;
    const copy = copyOf(checkpoint);
    const isShared = caches.checkpoints
      .list()
      .some(
        (other) =>
          other.metadata.uid !== uid &&
          other.metadata.deletionTimestamp === undefined &&
          copyOf(other) === copy,
      );
    if (copy !== undefined && !isShared) await store.remove(copy);
  }

  /** Removes the archive of a Checkpoint, but not one of somebody else that it only names. */
  async function removeArchive(checkpoint: Checkpoint): Promise<void> {
    const { checkpointData, containerName: container } = checkpoint.spec;
    if (!archiveName.safeParse(checkpointData).success) return;
    const captured = await inspect(archives, checkpointData).catch(unfit);
    // Of a damaged one there is only the whole of its name to go by; in doubt it stays.
    const { namespace = "", labels } = checkpoint.metadata;
    const owned = captured
      ? isOf(captured, ownerOf(checkpoint))
      : isNamed(checkpointData, { namespace, container, pod: labels?.[LABEL_POD] ?? "" });
    if (owned) await archives.remove(checkpointData);
  }

  /** There will never be an image: the Checkpoint is no good. */
  async function fail(checkpoint: Checkpoint, error: KcrError): Promise<void> {
    const { code: reason, advice: message } = error;
    await updateStatus(client, checkpoints, checkpoint, ({ status = {} }) => {
      const time = now();
      const failed = { type: IMAGE_PUSHED, status: "False", reason, message } as const;
      const conditions = setCondition(status.conditions, failed, time);
      // By a copy on the node it may be good all the same.
      const good = restorable({ conditions, copies: status.copies }, here, { reason, message });
      return {
        phase: "Failed",
        lastTransitionTime: time.toISOString(),
        failedReason: message,
        conditions: good === undefined ? conditions : setCondition(conditions, good, time),
      };
    });
    report(checkpoint, "Warning", reason, message);
  }

  /**
   * Says why the registry does not take the image, once per reason: a text that differs each time must not make
   * a change of its own, which would be met with another push at once.
   */
  async function reportRegistry(checkpoint: Checkpoint, error: unknown): Promise<void> {
    const told = registryError(error);
    const old: Condition | undefined = findCondition(checkpoint.status?.conditions, IMAGE_PUSHED);
    if (told === undefined || (old?.status === "False" && old.reason === told.code)) return;
    const { code: reason, advice: message } = told;
    const condition = { type: IMAGE_PUSHED, status: "False", reason, message } as const;
    await writeStatus(client, checkpoints, checkpoint, {
      conditions: setCondition(checkpoint.status?.conditions, condition, now()),
    });
    report(checkpoint, "Warning", reason, message);
  }

  function report(regarding: Checkpoint, type: "Normal" | "Warning", reason: string, note: string): void {
    recorder.record({ regarding, type, reason, action: "Push", note });
  }
}

/** What was pushed, and what was learned of the archive on the way. */
interface PushedImage {
  runtimeImage: string;
  imageDigest: string;
  /** Of the archive. */
  digest: string;
  sizeBytes: number;
  dumpError: string | undefined;
}

const nameFields = ({ metadata: { namespace, name } }: Checkpoint) => ({ namespace, checkpoint: name });
