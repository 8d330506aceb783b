import type { Client } from "./client.ts";
import { isNotFound } from "./errors.ts";
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
