import {
  ARCHIVE_FINALIZER,
  type Checkpoint,
  IMAGE_FINALIZER,
  IMAGE_REMOVED,
  RESTORABLE,
} from "../../api/checkpoint.ts";
import { findCondition, setCondition } from "../../api/conditions.ts";
import { type ErrorCode, KcrError } from "../../api/errors.ts";
import { imagePlace } from "../../api/images.ts";
import { checkpoints } from "../../api/kinds.ts";
import { ABANDON_IMAGE_ANNOTATION } from "../../api/labels.ts";
import { imageTag } from "../../api/names.ts";
import { openRegistry, registryError } from "../../api/registry.ts";
import { again, Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import { type Node, nodes, type ObjectName } from "../../kube/resources.ts";
import { absent, dropFinalizer, updateStatus, writeStatus } from "../../kube/write.ts";
import { isDigest } from "../../oci/digest.ts";
import { hasCode } from "../../oci/errors.ts";
import { BY_NAMESPACE, BY_NODE, type Context, USER_AGENT } from "../context.ts";
import { decideCheckpoint, type NodeStanding, needsNode } from "./decide.ts";

/**
 * The end of a Checkpoint: its manifest is deleted from the registry before the object goes, and what lies on a
 * node that no longer exists, or that nobody hears of, is not waited for.
 *
 * Guarantees: the object never goes before its bytes where an agent answers for them; a node counts as gone only when
 * the API server says NotFound for it, and as silent only when Kubernetes has not heard of it.
 * Assumptions: the agent of a silent node that comes back removes what it finds to be of no Checkpoint any more.
 */
export function checkpointController(context: Context): Controller {
  const { client, caches, recorder, log, now, settings } = context;

  const reconcile = async ({ namespace, name }: ObjectName, signal: AbortSignal): Promise<Outcome> => {
    const checkpoint = caches.checkpoints.get(namespace, name);
    if (checkpoint === undefined) return done;
    const { nodeName } = checkpoint.spec;
    const node = needsNode(checkpoint) ? await standingOf(nodeName) : "there";
    const decision = decideCheckpoint(checkpoint, node, now());

    switch (decision.type) {
      case "nothing":
        return done;
      case "fail": {
        const error = new KcrError("NodeLost", `node ${nodeName} went before the image was pushed`);
        await writeStatus(client, checkpoints, checkpoint, {
          phase: "Failed",
          failedReason: error.advice,
          lastTransitionTime: now().toISOString(),
          conditions: setCondition(
            checkpoint.status?.conditions,
            { type: RESTORABLE, status: "False", reason: error.code, message: error.advice },
            now(),
          ),
        });
        return done;
      }
      case "wait":
        return again(decision.ms);
      case "release-archive":
        log.info(
          { namespace, checkpoint: name, node: nodeName, standing: node },
          "nobody answers for an archive",
        );
        await dropFinalizer(client, checkpoints, checkpoint, ARCHIVE_FINALIZER);
        return done;
      case "delete-image":
        await deleteImage(checkpoint, signal).catch(async (error: unknown) => {
          const told = registryError(error);
          // It waits for the registry, and whoever deleted it wants to know for what.
          if (told !== undefined) {
            report(checkpoint, told.code, `deletion waits: ${told.advice}`);
            await tellWaiting(checkpoint, told);
          }
          throw error;
        });
        await dropFinalizer(client, checkpoints, checkpoint, IMAGE_FINALIZER);
        return done;
      default:
        return decision satisfies never;
    }
  };

  const standingOf = async (name: string): Promise<NodeStanding> => {
    // Asked of the API server only where the answer decides.
    const node = caches.nodes.get(undefined, name) ?? (await client.get(nodes, { name }).catch(absent));
    if (node === undefined) return "gone";
    return isSilent(node) ? "silent" : "there";
  };

  const deleteImage = async (checkpoint: Checkpoint, signal: AbortSignal): Promise<void> => {
    if (checkpoint.status?.checkpointImage === undefined) return;
    // Whoever takes the registry out of the settings has given up what is in it.
    if (settings.registry === undefined) return;
    const place = imagePlace(checkpoint, settings);
    if (place === undefined) {
      const { checkpointImage } = checkpoint.status;
      report(
        checkpoint,
        "RegistryRefused",
        `${checkpointImage} is no place of this namespace: nothing is deleted there`,
      );
      return;
    }
    if (checkpoint.metadata.annotations?.[ABANDON_IMAGE_ANNOTATION] === "true") return;
    const { repository } = place;
    await using registry = await openRegistry(settings, USER_AGENT);
    // A push that was killed before it could be recorded is found by its tag.
    const digest =
      place.digest ??
      (await registry.headManifest(repository, imageTag(checkpoint.metadata.name), { signal }))?.digest;
    if (!isDigest(digest)) return;
    const shared = caches.checkpoints
      .byIndex(BY_NAMESPACE, checkpoint.metadata.namespace ?? "")
      .some(
        (other) =>
          other.metadata.uid !== checkpoint.metadata.uid &&
          other.metadata.deletionTimestamp === undefined &&
          other.status?.checkpointImage === repository &&
          other.status?.imageDigest === digest,
      );
    if (shared) return;
    try {
      await registry.deleteManifest(repository, digest, { signal });
    } catch (error) {
      // Many registries, and accounts that may only push, do not delete: no object waits for what never comes.
      if (!hasCode(error, "unsupported", "forbidden", "unauthorized")) throw error;
      report(
        checkpoint,
        "RegistryRefused",
        `the registry does not delete: ${repository}@${digest} stays there`,
      );
    }
  };

  /** Once per reason: a text that differs each time must not make a change of its own. */
  const tellWaiting = async (checkpoint: Checkpoint, { code, advice }: KcrError): Promise<void> => {
    const next = { type: IMAGE_REMOVED, status: "False", reason: code, message: advice } as const;
    await updateStatus(client, checkpoints, checkpoint, ({ status = {} }) =>
      findCondition(status.conditions, IMAGE_REMOVED)?.reason === code
        ? undefined
        : { conditions: setCondition(status.conditions, next, now()) },
    );
  };

  const report = (regarding: Checkpoint, reason: ErrorCode, note: string): void =>
    recorder.record({ regarding, type: "Warning", reason, action: "Delete", note });

  return new Controller({
    name: "checkpoint",
    log,
    metrics: context.metrics,
    workers: 4,
    reconcile,
    // What waits for a registry that was down does not wait for long after it is back.
    backoff: { baseMs: 500, maxMs: 60_000, jitter: 0.2 },
    sources: [
      changesOf(caches.checkpoints),
      // Of a node that stays as it is no heartbeat makes a difference.
      changesOf(caches.nodes, (node, previous) => {
        const { name } = node.metadata;
        const isThere = caches.nodes.get(undefined, name) !== undefined;
        if (isThere && isSilent(node) === (previous !== undefined && isSilent(previous))) return [];
        return caches.checkpoints.byIndex(BY_NODE, name).map(({ metadata }) => metadata);
      }),
    ],
  });
}

/** Whether Kubernetes has not heard of it for so long that it does not know how it is. */
const isSilent = ({ status }: Node): boolean =>
  status?.conditions?.find(({ type }) => type === "Ready")?.status === "Unknown";
