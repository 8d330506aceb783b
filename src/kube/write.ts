import type { Client } from "./client.ts";
import { isConflict, isNotFound } from "./errors.ts";
import type { KubeObject, Resource } from "./resources.ts";

/**
 * Writes fields of an object's status against the version that was read: a write that was overtaken is
 * answered with Conflict and decided anew. Fields set to undefined are removed.
 */
export function writeStatus<T extends KubeObject>(
  client: Client,
  resource: Resource<T>,
  object: KubeObject,
  status: object,
): Promise<T> {
  const { name, namespace, resourceVersion } = object.metadata;
  const fields = Object.fromEntries(
    Object.entries(status).map(([key, value]) => [key, value === undefined ? null : value]),
  );
  return client.patch(
    resource,
    { namespace, name },
    { type: "merge", body: { metadata: { resourceVersion }, status: fields } },
    { subresource: "status" },
  );
}

/**
 * Writes one condition of an object whose conditions are told apart by their types, as those of pods and Deployments
 * are, or takes it out (`$patch: "delete"`): against the version that was read, as {@link writeStatus}.
 */
export function writeCondition<T extends KubeObject>(
  client: Client,
  resource: Resource<T>,
  object: KubeObject,
  condition: { type: string },
): Promise<T> {
  const { name, namespace, uid, resourceVersion } = object.metadata;
  return client.patch(
    resource,
    { namespace, name },
    {
      type: "strategic",
      body: { metadata: { uid, resourceVersion }, status: { conditions: [condition] } },
    },
    { subresource: "status" },
  );
}

/** How often a change of status is decided anew, when others keep changing the object. */
const UPDATE_TRIES = 10;

/**
 * Writes what `next` makes of an object's status, decided anew whenever another writer was quicker; nothing when it
 * makes nothing of it. Gives the object as it is then; undefined when it is gone, or another has its name.
 */
export async function updateStatus<T extends KubeObject>(
  client: Client,
  resource: Resource<T>,
  object: T,
  next: (current: T) => object | undefined,
): Promise<T | undefined> {
  let current: T | undefined = object;
  for (let tries = 1; ; tries++) {
    const status = next(current);
    if (status === undefined) return current;
    try {
      return await writeStatus(client, resource, current, status);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      if (!isConflict(error) || tries >= UPDATE_TRIES) throw error;
    }
    current = await client.get(resource, object.metadata).catch(absent);
    if (current?.metadata.uid !== object.metadata.uid) return undefined;
    if (current === undefined) return undefined;
  }
}

/** Takes one finalizer off an object, against the version that was read. */
export function dropFinalizer<T extends KubeObject>(
  client: Client,
  resource: Resource<T>,
  object: T,
  finalizer: string,
): Promise<T> {
  const { name, namespace, resourceVersion, finalizers } = object.metadata;
  return client.patch(
    resource,
    { namespace, name },
    {
      type: "merge",
      body: { metadata: { resourceVersion, finalizers: (finalizers ?? []).filter((f) => f !== finalizer) } },
    },
  );
}

/** For `catch`: an object that is not there is undefined; any other error stays one. */
export function absent(error: unknown): undefined {
  if (isNotFound(error)) return undefined;
  throw error;
}
