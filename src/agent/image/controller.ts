import {
  ARCHIVE_FINALIZER,
  type Checkpoint,
  type CheckpointStatus,
  IMAGE_PUSHED,
  RESTORABLE,
} from "../../api/checkpoint.ts";
import type { Condition } from "../../api/common.ts";
import { findCondition, setCondition } from "../../api/conditions.ts";
import { KcrError } from "../../api/errors.ts";
import { imagePlace } from "../../api/images.ts";
import { checkpoints } from "../../api/kinds.ts";
import { LABEL_POD } from "../../api/labels.ts";
import { imageTag } from "../../api/names.ts";
import { openRegistry, registryError } from "../../api/registry.ts";
import { pullAddress, registryOf } from "../../api/settings.ts";
import { Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import { isConflict } from "../../kube/errors.ts";
import type { ObjectName } from "../../kube/resources.ts";
import { follow } from "../../kube/signals.ts";
import { absent, dropFinalizer, writeStatus } from "../../kube/write.ts";
import { pushCheckpointImage } from "../../oci/checkpoint-image.ts";
import { type Digest, isDigest } from "../../oci/digest.ts";
import { hasCode } from "../../oci/errors.ts";
import { goArchitecture } from "../../oci/image.ts";
import { verifyImage } from "../../oci/push.ts";
import { archiveName, isNamed } from "../archives.ts";
import type { Context } from "../context.ts";
import { type Captured, inspect, isOf, type Owner, unfit } from "../inspect.ts";
import { decideImage } from "./decide.ts";

/** How often the end of a push is written against changes of others. */
const WRITE_TRIES = 10;

/** Pushes at once: each is one stream, and two keep a node's uplink busy. */
const WORKERS = 2;

/**
 * Turns the archive of a Checkpoint into an image in the registry, and lets go of the archive then.
 *
 * Flow: Created -> Processing -> image pushed -> ImageBuilt -> image verified by digest -> archive removed ->
 * ARCHIVE_FINALIZER dropped. A deletion on the way ends the push; the archive goes, then the finalizer.
 * Guarantees: an archive is removed only when its image was seen whole in the registry, or its Checkpoint is
 * being deleted; killed at any point it goes on where it was; while the registry refuses, the condition
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
  const { node, client, settings, archives, caches, recorder, log, now } = context;

  return async (name, signal) => {
    const cached = caches.checkpoints.get(name.namespace, name.name);
    if (cached === undefined || decideImage(cached, node).type === "nothing") return done;
    // Not the cache: what it does not know yet would be pushed a second time.
    const checkpoint = await client.get(checkpoints, name, { signal }).catch(absent);
    if (checkpoint === undefined) return done;
    const decision = decideImage(checkpoint, node);
    switch (decision.type) {
      case "nothing":
        return done;
      case "push":
        return await untilDeleted(checkpoint, signal, (limit) => push(checkpoint, limit));
      case "release":
        return await release(checkpoint, decision, signal);
      case "remove":
        await removeArchive(checkpoint);
        await dropFinalizer(client, checkpoints, checkpoint, ARCHIVE_FINALIZER).catch(absent);
        return done;
      default:
        return decision satisfies never;
    }
  };

  async function push(checkpoint: Checkpoint, signal: AbortSignal): Promise<Outcome> {
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
    log.info({ ...nameFields(written), image: built.runtimeImage }, "checkpoint image pushed");
    report(written, "Normal", "ImagePushed", `pushed as ${built.runtimeImage}`);
    // The change of status brings it back here, to be released.
    return done;
  }

  /** A change of something else meanwhile, a label or a finalizer, must not let the whole be pushed again. */
  async function writePushed(pushed: Checkpoint, built: CheckpointStatus): Promise<Checkpoint> {
    let current = pushed;
    for (let tries = 1; ; tries++) {
      try {
        return await writeStatus(client, checkpoints, current, built);
      } catch (error) {
        if (!isConflict(error) || tries >= WRITE_TRIES) throw error;
        current = await client.get(checkpoints, pushed.metadata);
        const same = current.metadata.uid === pushed.metadata.uid && current.status?.phase === "Processing";
        if (!same || current.metadata.deletionTimestamp !== undefined) throw error;
      }
    }
  }

  async function pushImage(
    checkpoint: Checkpoint,
    captured: Captured,
    signal: AbortSignal,
  ): Promise<CheckpointStatus> {
    const { metadata, status } = checkpoint;
    const repository = status?.checkpointImage ?? "";
    const known = status?.digest;
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
    const runtimeImage = `${pullAddress(registryOf(settings))}/${repository}@${image.digest}`;
    const time = now();
    const pushed = { type: IMAGE_PUSHED, status: "True", reason: "Pushed", message: runtimeImage } as const;
    return {
      phase: "ImageBuilt",
      lastTransitionTime: time.toISOString(),
      runtimeImage,
      imageDigest: image.digest,
      digest: image.layer.digest,
      sizeBytes: image.layer.size,
      copies: [{ kind: "Registry", image: runtimeImage, verifiedTime: time.toISOString() }],
      conditions: setCondition(
        setCondition(status?.conditions, pushed, time),
        restorable(captured, runtimeImage),
        time,
      ),
    };
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
      return await untilDeleted(checkpoint, signal, (limit) => push(checkpoint, limit));
    }
    await removeArchive(checkpoint);
    await dropFinalizer(client, checkpoints, checkpoint, ARCHIVE_FINALIZER).catch(absent);
    return done;
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

  /** Runs `work` until it ends or the Checkpoint is being deleted; its deletion is what is looked at next then. */
  async function untilDeleted(
    { metadata }: Checkpoint,
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<Outcome>,
  ): Promise<Outcome> {
    using limit = follow(signal);
    let deleted = false;
    const unsubscribe = caches.checkpoints.subscribe(({ type, object }) => {
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

  /** There will never be an image: the Checkpoint is no good. */
  async function fail(checkpoint: Checkpoint, error: KcrError): Promise<void> {
    const { code: reason, advice: message } = error;
    const time = now();
    let { conditions } = checkpoint.status ?? {};
    for (const type of [IMAGE_PUSHED, RESTORABLE]) {
      conditions = setCondition(conditions, { type, status: "False", reason, message }, time);
    }
    await writeStatus(client, checkpoints, checkpoint, {
      phase: "Failed",
      lastTransitionTime: time.toISOString(),
      failedReason: message,
      conditions,
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

/** An image is good unless CRIU's log says that the dump did not finish. */
function restorable({ dumpError: error }: Captured, image: string): Omit<Condition, "lastTransitionTime"> {
  return error === undefined
    ? { type: RESTORABLE, status: "True", reason: "ImageVerified", message: image }
    : { type: RESTORABLE, status: "False", reason: "CheckpointFailed", message: `CRIU reported: ${error}` };
}

const ownerOf = ({ metadata, spec, status }: Checkpoint): Owner => ({
  namespace: metadata.namespace,
  podUID: status?.lineage?.podUID,
  container: spec.containerName,
});

const nameFields = ({ metadata: { namespace, name } }: Checkpoint) => ({ namespace, checkpoint: name });
