import type { KubeObject, ObjectName, Resource } from "../../kube/resources.ts";
import { follow } from "../../kube/signals.ts";
import { watch } from "../../kube/watch.ts";
import { absent } from "../../kube/write.ts";
import type { Connection } from "../cluster.ts";

/**
 * One object as it is now and as it becomes; undefined once it is gone. Ends only where the consumer stops asking or
 * the signal aborts.
 *
 * Guarantees: a connection that breaks is made anew, as `watch` does it.
 * Errors: those of the API for the first look, the signal's reason.
 */
export async function* observe<T extends KubeObject>(
  { client }: Connection,
  resource: Resource<T>,
  { namespace, name }: ObjectName,
  signal: AbortSignal,
): AsyncGenerator<T | undefined, void, undefined> {
  let current: T | undefined = await client.get(resource, { namespace, name }, { signal }).catch(absent);
  yield current;
  if (current === undefined) return;
  const { uid } = current.metadata;
  using own = follow(signal);
  const events = watch({ client, resource, namespace, fieldSelector: `metadata.name=${name}` }, own.signal);
  let listed: T | undefined;
  for await (const event of events) {
    switch (event.type) {
      case "init":
        listed = undefined;
        continue;
      case "initApply":
        listed = event.object;
        continue;
      case "initDone":
        break;
      case "apply":
        listed = event.object;
        break;
      case "delete":
        listed = undefined;
        break;
      default:
        event satisfies never;
    }
    // Another of that name is another.
    const next: T | undefined = listed?.metadata.uid === uid ? listed : undefined;
    if (next?.metadata.resourceVersion === current?.metadata.resourceVersion && next !== undefined) continue;
    current = next;
    yield current;
    if (current === undefined) return;
  }
}
