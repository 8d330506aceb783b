import { ARCHIVE_FINALIZER, type Checkpoint, IMAGE_FINALIZER, RESTORABLE } from "../../api/checkpoint.ts";
import { setCondition } from "../../api/conditions.ts";
import { type ErrorCode, KcrError } from "../../api/errors.ts";
import { checkpoints } from "../../api/kinds.ts";
import { imageTag } from "../../api/names.ts";
import { openRegistry, registryError } from "../../api/registry.ts";
import { Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import { type Node, nodes, type ObjectName } from "../../kube/resources.ts";
import { absent, dropFinalizer, writeStatus } from "../../kube/write.ts";
import { isDigest } from "../../oci/digest.ts";
import { hasCode } from "../../oci/errors.ts";
import { BY_NAMESPACE, BY_NODE, type Context, USER_AGENT } from "../context.ts";
import { decideCheckpoint } from "./decide.ts";

/**
 * The end of a Checkpoint: its manifest is deleted from the registry before the object goes, and what lay on a
 * node that no longer exists counts as gone.
 *
 * Guarantees: the object never goes before its bytes; a node counts as gone only when the API server says
 * NotFound for it.
 */
export function checkpointController(context: Context): Controller {
  const { client, caches, recorder, log, now, settings } = context;

  const reconcile = async ({ namespace, name }: ObjectName, signal: AbortSignal): Promise<Outcome> => {
    const checkpoint = caches.checkpoints.get(namespace, name);
    if (checkpoint === undefined) return done;
    const { nodeName } = checkpoint.spec;
    const node: Node | undefined =
      caches.nodes.get(undefined, nodeName) ?? (await client.get(nodes, { name: nodeName }).catch(absent));
    const decision = decideCheckpoint(checkpoint, node !== undefined);

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
      case "release-archive":
        await dropFinalizer(client, checkpoints, checkpoint, ARCHIVE_FINALIZER);
        return done;
      case "delete-image":
        await deleteImage(checkpoint, decision.repository, decision.digest, signal).catch(
          (error: unknown) => {
            const told = registryError(error);
            // It waits for the registry, and whoever deleted it wants to know for what.
            if (told !== undefined) report(checkpoint, told.code, `deletion waits: ${told.advice}`);
            throw error;
          },
        );
        await dropFinalizer(client, checkpoints, checkpoint, IMAGE_FINALIZER);
        return done;
      default:
        return decision satisfies never;
    }
  };

  const deleteImage = async (
    checkpoint: Checkpoint,
    repository: string | undefined,
    recorded: string | undefined,
    signal: AbortSignal,
  ): Promise<void> => {
    if (repository === undefined) return;
    await using registry = await openRegistry(settings, USER_AGENT);
    // A push that was killed before it could be recorded is found by its tag.
    const digest =
      recorded ??
      (await registry.headManifest(repository, imageTag(checkpoint.metadata.name), { signal }))?.digest;
    if (!isDigest(digest)) return;
    const shared = caches.checkpoints
      .byIndex(BY_NAMESPACE, checkpoint.metadata.namespace ?? "")
      .some(
        (other) =>
          other.metadata.uid !== checkpoint.metadata.uid &&
          other.status?.checkpointImage === repository &&
          other.status?.imageDigest === digest,
      );
    if (shared) return;
    try {
      await registry.deleteManifest(repository, digest, { signal });
    } catch (error) {
      if (!hasCode(error, "unsupported")) throw error;
      report(
        checkpoint,
        "RegistryRefused",
        `the registry does not delete: ${repository}@${digest} stays there`,
      );
    }
  };

  const report = (regarding: Checkpoint, reason: ErrorCode, note: string): void =>
    recorder.record({ regarding, type: "Warning", reason, action: "Delete", note });

  return new Controller({
    name: "checkpoint",
    log,
    workers: 4,
    reconcile,
    sources: [
      changesOf(caches.checkpoints),
      changesOf(caches.nodes, (node) =>
        caches.checkpoints
          .byIndex(BY_NODE, node.metadata.name)
          .map(({ metadata }) => ({ namespace: metadata.namespace, name: metadata.name })),
      ),
    ],
  });
}
