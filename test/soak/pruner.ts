import { requests } from "../../src/api/kinds.ts";
import { LABEL_REQUEST } from "../../src/api/labels.ts";
import { delay } from "../../src/kube/signals.ts";
import type { World } from "../support/world.ts";
import type { Observer } from "./observer.ts";
import type { Player } from "./player.ts";

const EACH_MS = 30_000;
/** So many good Checkpoints of a workload stay. */
const KEPT = 4;

/**
 * Deletes old Checkpoints until told to end, as a person would who wants to keep the newest few: by their requests,
 * and never what a run was restored from while there is nothing newer of it.
 *
 * Returns how many requests it has deleted.
 */
export async function pruneUntil(
  world: World,
  players: readonly Player[],
  observer: Observer,
  end: AbortSignal,
): Promise<number> {
  let deleted = 0;
  while (!end.aborted) {
    for (const player of players) {
      for (const name of old(player, observer)) {
        const metadata = { namespace: world.namespace, name };
        const options = { propagationPolicy: "Background", timeoutMs: 10_000 } as const;
        // What could not be deleted just now comes again.
        await world.client.delete(requests, metadata, options).then(
          () => {
            deleted += 1;
          },
          () => {},
        );
      }
    }
    await delay(EACH_MS, end).catch(() => {});
  }
  return deleted;
}

/** Names of the requests of all that is older than the newest few. */
function old({ pod, baseName }: Player, observer: Observer): string[] {
  const newestFirst = observer
    .of(pod)
    .sort((a, b) => Date.parse(b.spec.checkpointTimestamp) - Date.parse(a.spec.checkpointTimestamp));
  const good = newestFirst.filter(observer.isGood);
  const last = good[KEPT - 1];
  if (last === undefined) return [];
  return newestFirst
    .slice(newestFirst.indexOf(last) + 1)
    .filter(({ metadata }) => metadata.name !== baseName && metadata.deletionTimestamp === undefined)
    .flatMap(({ metadata }) => metadata.labels?.[LABEL_REQUEST] ?? []);
}
