import type { Checkpoint } from "../../api/checkpoint.ts";
import { findCondition, setCondition } from "../../api/conditions.ts";
import { KcrError } from "../../api/errors.ts";
import { describeMisfits } from "../../api/fit.ts";
import { checkpoints, isGood, restores } from "../../api/kinds.ts";
import { ARMED, type CheckpointRestore } from "../../api/restore.ts";
import { Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import type { ObjectName } from "../../kube/resources.ts";
import { absent, writeStatus } from "../../kube/write.ts";
import type { Context } from "../context.ts";
import { hasCopy } from "./copies.ts";
import { candidateOf, differences } from "./decide.ts";

/**
 * Makes sure that the node has a copy of the Checkpoint; resolves when it has.
 *
 * Errors: KcrError where that cannot be; any other where it is worth another try; the signal's reason.
 */
export type EnsureCopy = (checkpoint: Checkpoint, signal: AbortSignal) => Promise<void>;

/** Whether a person's wish is this node's to arm now: armed already or not. */
export function isToArm({ metadata, status }: CheckpointRestore, node: string): boolean {
  return (
    metadata.deletionTimestamp === undefined &&
    status?.phase === "Restoring" &&
    status.strategy === "Runtime" &&
    status.nodeName === node &&
    findCondition(status.conditions, ARMED)?.status !== "False"
  );
}

/**
 * Has the copy of a Checkpoint ready that a person wants a container to go back to; the plan, and with it the
 * condition Armed=True, follow from its being there (controller.ts). Where it cannot be, Armed=False says why.
 */
export function armController(
  context: Context,
  ensureCopy: EnsureCopy,
  planAgain: (podUID: string) => void,
): Controller {
  const { node, client, caches, facts, layout, log, metrics, now } = context;

  const reconcile = async (name: ObjectName, signal: AbortSignal): Promise<Outcome> => {
    const restore = caches.restores.get(name.namespace, name.name);
    if (restore === undefined || !isToArm(restore, node)) return done;
    if (findCondition(restore.status?.conditions, ARMED) !== undefined) return done;
    try {
      await prepare(restore, signal);
    } catch (error) {
      if (!(error instanceof KcrError)) throw error;
      const { code: reason, advice: message } = error;
      const conditions = setCondition(
        restore.status?.conditions,
        { type: ARMED, status: "False", reason, message },
        now(),
      );
      await writeStatus(client, restores, restore, { conditions });
      log.warn({ ...name, code: reason, err: error }, "a restore cannot be armed");
      return done;
    }
    planAgain(restore.status?.podUID ?? "");
    return done;
  };

  const prepare = async (restore: CheckpointRestore, signal: AbortSignal): Promise<void> => {
    const { namespace } = restore.metadata;
    const { checkpointName } = restore.spec;
    const checkpoint = await client
      .get(checkpoints, { namespace, name: checkpointName }, { signal })
      .catch(absent);
    if (checkpoint === undefined) {
      throw new KcrError("CheckpointNotFound", `Checkpoint ${checkpointName} does not exist`);
    }
    if (!isGood(checkpoint))
      throw new KcrError("CheckpointNotGood", `Checkpoint ${checkpointName} is not good`);
    const misfits = differences(checkpoint, await facts.of(caches.nodes.get(undefined, node)));
    if (misfits.length > 0) {
      const why = describeMisfits(misfits);
      throw new KcrError("NodeDiffers", `Checkpoint ${checkpointName} does not fit node ${node}: ${why}`);
    }
    const candidate = candidateOf(checkpoint);
    if (candidate !== undefined && (await hasCopy(layout, candidate.copy))) return;
    await ensureCopy(checkpoint, signal);
  };

  return new Controller({
    name: "arm",
    log,
    metrics,
    workers: 4,
    backoff: { baseMs: 500, maxMs: 10_000, jitter: 0.2 },
    reconcile,
    sources: [changesOf(caches.restores)],
  });
}
