import type { Client } from "../../kube/client.ts";
import { isNotFound } from "../../kube/errors.ts";
import type { KubeObject, ObjectName, Resource } from "../../kube/resources.ts";
import { delay } from "../../kube/signals.ts";

/** What every step of taking kcr away works with. */
export interface Step {
  client: Client;
  signal: AbortSignal;
  /** How long one thing is waited for that does not come nearer. */
  patienceMs: number;
  /** What is being done now. */
  doing(text: string): void;
  /** What was done, for good. */
  done(text: string): void;
  /** What stays, and why. */
  stays(text: string): void;
}

const POLL_MS = 500;

/** Deletes an object that may be gone already; whether it was there. */
export async function remove(
  { client, signal }: Step,
  resource: Resource,
  { namespace, name }: ObjectName,
): Promise<boolean> {
  try {
    await client.delete(resource, { namespace, name }, { propagationPolicy: "Background", signal });
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}

/** All objects of a kind; none where the cluster does not know the kind. */
export async function listOf<T extends KubeObject>(
  { client, signal }: Step,
  resource: Resource<T>,
  options: { namespace?: string; labelSelector?: string } = {},
): Promise<T[]> {
  try {
    return (await client.listAll(resource, { ...options, signal })).items;
  } catch (error) {
    if (isNotFound(error)) return [];
    throw error;
  }
}

/**
 * Looks until nothing is left, and shows how much is. What is left in the end: something, where for `patienceMs`
 * nothing of it has gone.
 */
export async function untilGone<T>(
  { signal, patienceMs, doing }: Step,
  what: string,
  look: () => Promise<readonly T[]>,
): Promise<readonly T[]> {
  let fewest = Number.POSITIVE_INFINITY;
  let since = performance.now();
  for (;;) {
    const left = await look();
    if (left.length === 0) return left;
    doing(`${what} (${left.length} left)`);
    if (left.length < fewest) {
      fewest = left.length;
      since = performance.now();
    } else if (performance.now() - since > patienceMs) {
      return left;
    }
    await delay(POLL_MS, signal);
  }
}

/** Some names for a message. */
export function some(names: readonly string[], most = 3): string {
  const shown = names.slice(0, most).join(", ");
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}

/** `1 Checkpoint`, `2 Checkpoints`. */
export const count = (amount: number, what: string): string => `${amount} ${what}${amount === 1 ? "" : "s"}`;
