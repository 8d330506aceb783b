import { factsText, fitsValue } from "../../api/facts.ts";
import { FACTS_ANNOTATION, FITS_LABEL } from "../../api/labels.ts";
import { Controller, changesOf, done, type Outcome, type Source } from "../../kube/controller.ts";
import { nodes } from "../../kube/resources.ts";
import type { Context } from "../context.ts";

/**
 * Writes on the agent's node what decides which checkpoints fit it: the annotation kcr.io/node-facts, and the label
 * kcr.io/fits for schedulers.
 *
 * Flow: at each start, when the node changes, and after each dump on it -> what is known (node-facts.ts) -> one patch,
 * if that is not what stands there.
 * Guarantees: what somebody else writes there does not stay.
 */
export function factsController(context: Context): Controller {
  const { node, client, caches, facts, log, metrics } = context;

  const reconcile = async (): Promise<Outcome> => {
    const current = caches.nodes.get(undefined, node);
    if (current === undefined) return done;
    const known = await facts.of(current);
    const text = factsText(known);
    const fits = fitsValue(known);
    const { annotations, labels } = current.metadata;
    if (annotations?.[FACTS_ANNOTATION] === text && labels?.[FITS_LABEL] === fits) return done;
    const metadata = { labels: { [FITS_LABEL]: fits }, annotations: { [FACTS_ANNOTATION]: text } };
    await client.patch(nodes, { name: node }, { type: "merge", body: { metadata } });
    log.info({ fits }, "what fits the node was written on it");
    return done;
  };

  const dumps: Source = {
    subscribe: (enqueue) => facts.subscribe(() => enqueue({ name: node })),
    async waitForSync() {},
  };

  return new Controller({
    name: "facts",
    log,
    metrics,
    backoff: { baseMs: 1_000, maxMs: 60_000, jitter: 0.2 },
    reconcile,
    sources: [changesOf(caches.nodes), dumps],
  });
}
