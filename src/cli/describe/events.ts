import { isForbidden } from "../../kube/errors.ts";
import { type KubeObject, resource } from "../../kube/resources.ts";
import type { Connection } from "../cluster.ts";

/** An Event in its older form, the one that can be asked for by the object it is about. */
interface CoreEvent extends KubeObject {
  type?: string;
  reason?: string;
  message?: string;
  count?: number;
  eventTime?: string | null;
  firstTimestamp?: string | null;
  lastTimestamp?: string | null;
  series?: { count?: number; lastObservedTime?: string };
}

const events = resource<CoreEvent>({ group: "", version: "v1", plural: "events", kind: "Event" });

/** What happened to an object. */
export interface Happened {
  type: string;
  reason: string;
  message: string;
  count: number;
  /** RFC 3339. */
  time: string;
}

/** Events of one object, oldest first; undefined where the account may not list them. Errors: those of the API. */
export async function eventsOf(
  { client }: Connection,
  { metadata }: KubeObject,
  signal: AbortSignal,
): Promise<Happened[] | undefined> {
  try {
    const { items } = await client.listAll(events, {
      namespace: metadata.namespace,
      fieldSelector: `involvedObject.uid=${metadata.uid}`,
      signal,
    });
    return items.map(happened).sort((a, b) => (a.time < b.time ? -1 : 1));
  } catch (error) {
    if (isForbidden(error)) return undefined;
    throw error;
  }
}

function happened(event: CoreEvent): Happened {
  const { type = "Normal", reason = "", message = "", series, count, metadata } = event;
  const time =
    series?.lastObservedTime ?? event.lastTimestamp ?? event.eventTime ?? metadata.creationTimestamp ?? "";
  return { type, reason, message, count: series?.count ?? count ?? 1, time };
}
