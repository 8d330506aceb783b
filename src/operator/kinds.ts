import { KcrError } from "../api/errors.ts";
import { GROUP, KINDS_ANNOTATION, KINDS_VERSION } from "../api/group.ts";
import { checkpoints, downloads, requests, restores, schedules } from "../api/kinds.ts";
import type { Client } from "../kube/client.ts";
import type { Logger } from "../kube/log.ts";
import { customResourceDefinitions, type KubeObject } from "../kube/resources.ts";
import { delay } from "../kube/signals.ts";
import { absent } from "../kube/write.ts";

const NAMES = [schedules, requests, checkpoints, restores, downloads].map(
  ({ plural }) => `${plural}.${GROUP}`,
);
/** How soon it is looked again, in milliseconds. */
const AGAIN_MS = 10_000;

/**
 * What the cluster's kinds lack that this operator needs; undefined where they lack nothing. Those of a later version
 * have all that those of an earlier one have.
 */
export function lackOf(kinds: ReadonlyMap<string, KubeObject | undefined>): KcrError | undefined {
  const missing = [...kinds].filter(([, kind]) => kind === undefined).map(([name]) => name);
  const older = [...kinds].filter(([, kind]) => kind !== undefined && protocolOf(kind) < KINDS_VERSION);
  const said = [
    missing.length > 0 && `${missing.join(", ")} ${missing.length > 1 ? "are" : "is"} not there`,
    ...older.map(
      ([name, kind]) => `${name} is of protocol ${protocolOf(kind!)}, and ${KINDS_VERSION} is needed`,
    ),
  ].filter((one) => one !== false);
  return said.length === 0 ? undefined : new KcrError("KindsOutdated", said.join("; "));
}

const protocolOf = ({ metadata }: KubeObject): number =>
  Number(metadata.annotations?.[KINDS_ANNOTATION] ?? 1) || 0;

/**
 * Says in the log what the cluster's kinds lack, once for each lack, until they lack nothing. Errors: none but the
 * signal's reason; what cannot be read is looked at again.
 */
export async function watchKinds(client: Client, log: Logger, signal: AbortSignal): Promise<void> {
  for (let told: string | undefined; ; await delay(AGAIN_MS, signal)) {
    try {
      const kinds = new Map<string, KubeObject | undefined>();
      for (const name of NAMES) {
        kinds.set(name, await client.get(customResourceDefinitions, { name }, { signal }).catch(absent));
      }
      const lack = lackOf(kinds);
      if (lack === undefined) {
        if (told !== undefined) log.info({}, "the cluster's kinds have all that this version needs");
        return;
      }
      if (lack.message !== told) {
        log.error({ code: lack.code, why: lack.advice }, "the cluster's kinds are of an earlier version");
      }
      told = lack.message;
    } catch (error) {
      signal.throwIfAborted();
      const why = (error as Error).message;
      if (why !== told) log.warn({ err: error }, "the cluster's kinds cannot be looked at");
      told = why;
    }
  }
}
