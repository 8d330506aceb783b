import { Controller, done, type Outcome } from "../../kube/controller.ts";
import type { Logger } from "../../kube/log.ts";
import type { Metrics } from "../../kube/metrics.ts";
import type { ObjectName } from "../../kube/resources.ts";
import { scrubOne } from "../scrub.ts";
import type { LocalStore } from "../store/store.ts";

/** A copy that was found whole is not looked at again for so long, whoever doubts it, in milliseconds. */
const BELIEVED_MS = 600_000;
/** Copies of which that is remembered. */
const REMEMBERED = 1000;

export interface DoubtOptions {
  store: LocalStore;
  log: Logger;
  metrics?: Metrics;
  now(): Date;
}

/**
 * Looks at the copies that another node says, or the server found, to be not what they should be. Keyed by the copy's
 * name; `enqueue` it.
 *
 * Guarantees: a copy is marked as damaged only when this node's own disk says so: a peer that lies costs one reading
 * of a copy that it may have, in ten minutes, one after another.
 */
export function doubtController({ store, log, metrics, now }: DoubtOptions): Controller {
  const believed = new Map<string, number>();

  const reconcile = async ({ name: copy }: ObjectName, signal: AbortSignal): Promise<Outcome> => {
    const time = now().getTime();
    if ((believed.get(copy) ?? 0) > time) return done;
    const problems = await scrubOne(store, copy, signal);
    believed.delete(copy);
    if (problems.length > 0) {
      log.error({ copy, problems }, "a copy is damaged");
      return done;
    }
    believed.set(copy, time + BELIEVED_MS);
    const [oldest] = believed.keys();
    if (believed.size > REMEMBERED && oldest !== undefined) believed.delete(oldest);
    log.info({ copy }, "a copy was doubted by another node, and is whole");
    return done;
  };

  return new Controller({
    name: "doubt",
    log,
    metrics,
    backoff: { baseMs: 1_000, maxMs: 60_000, jitter: 0.2 },
    reconcile,
    sources: [],
  });
}
