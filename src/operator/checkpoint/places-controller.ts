import { readFetched } from "../../api/fetched.ts";
import { checkpoints } from "../../api/kinds.ts";
import { Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import type { Node, ObjectName } from "../../kube/resources.ts";
import { updateStatus } from "../../kube/write.ts";
import { BY_COPY, type Context } from "../context.ts";
import { placesOf } from "./places.ts";

/**
 * Tells of a Checkpoint on which other nodes there are copies of it: by what those nodes' agents write on their nodes,
 * for they may not write the Checkpoint.
 *
 * Guarantees: nothing but `status.copies` changes, and whether a Checkpoint is good does not follow from this: an agent
 * that lies makes people look in the wrong place, and other agents ask there in vain.
 */
export function placesController({ client, caches, log, now }: Context): Controller {
  const reconcile = async ({ namespace, name }: ObjectName): Promise<Outcome> => {
    const checkpoint = caches.checkpoints.get(namespace, name);
    const digest = checkpoint?.status?.digest;
    if (checkpoint === undefined || digest === undefined) return done;
    const nodes = caches.nodes.byIndex(BY_COPY, digest).map(({ metadata }) => metadata.name);
    if (placesOf(checkpoint, nodes, now()) === undefined) return done;
    await updateStatus(client, checkpoints, checkpoint, (current) => {
      const copies = placesOf(current, nodes, now());
      return copies && { copies };
    });
    return done;
  };

  const named = (node: Node | undefined): ObjectName[] =>
    (node === undefined ? [] : readFetched(node))
      .flatMap((copy) => caches.checkpoints.byIndex(BY_COPY, `sha256:${copy}`))
      .map(({ metadata }) => metadata);

  return new Controller({
    name: "places",
    log,
    backoff: { baseMs: 1_000, maxMs: 60_000, jitter: 0.2 },
    reconcile,
    sources: [
      changesOf(caches.checkpoints),
      changesOf(caches.nodes, (node, previous) => [...named(node), ...named(previous)]),
    ],
  });
}
