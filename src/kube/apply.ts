import { randomUUID } from "node:crypto";
import type { Client, Draft } from "./client.ts";
import { ApiError } from "./errors.ts";
import type { KubeObject, Resource } from "./resources.ts";

/** A part of an object, however deep: what one writer owns of it. */
export type Part<T> =
  T extends Array<infer Item> ? Part<Item>[] : T extends object ? { [K in keyof T]?: Part<T[K]> } : T;

/** What one writer owns of an object: its name, and whatever fields beside. */
export type Owned<T extends KubeObject> = Part<Omit<T, "metadata">> & {
  metadata: {
    name: string;
    namespace?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    ownerReferences?: KubeObject["metadata"]["ownerReferences"];
    finalizers?: string[];
  };
};

export interface ApplyOwnedOptions<T extends KubeObject> {
  /** Who owns the fields. Always the same for one writer, or its fields stay behind when it leaves them out. */
  fieldManager: string;
  /** The object, as it was read, on which the decision rests; absent when it is to be created. */
  basedOn?: T;
  subresource?: string;
  signal?: AbortSignal;
}

/**
 * Makes the server's object have these fields, and takes out those that this writer gave it before and has left out
 * now; all others' fields stay as they are. Creates the object where there is none.
 *
 * Guarantees: another's write is never overwritten. With `basedOn` nothing is written unless the object is that very
 * one (by uid) at that very version; a field that another manager has set to another value is a conflict.
 *
 * Errors: 409 ({@link isConflict}); {@link fieldConflicts} tells whose fields they are. Read again, decide again.
 */
export async function applyOwned<T extends KubeObject>(
  client: Client,
  resource: Resource<T>,
  owned: Owned<T>,
  options: ApplyOwnedOptions<T>,
): Promise<T> {
  const { fieldManager, basedOn, subresource, signal } = options;
  const { uid, resourceVersion } = basedOn?.metadata ?? {};
  const object = { ...owned, metadata: { ...owned.metadata, ...(basedOn ? { uid, resourceVersion } : {}) } };
  return client.apply(resource, object as unknown as Draft<T>, { fieldManager, subresource, signal });
}

/**
 * Creates an object by server-side apply: an account can be allowed to create one object of a certain name only so.
 *
 * Guarantees: one that is there already is not overwritten, be it of this very program: each attempt is a field manager
 * of its own, so that what another attempt has set to another value is another's.
 *
 * Errors: 409 ({@link isConflict}) for one that is there and says something else.
 */
export async function applyNew<T extends KubeObject>(
  client: Client,
  resource: Resource<T>,
  object: Draft<T>,
  options: { fieldManager: string },
): Promise<T> {
  return client.apply(resource, object, { fieldManager: `${options.fieldManager}-${randomUUID()}` });
}

/**
 * The fields another manager owns that made an apply fail; empty for every other error, a conflict of versions
 * included. `field` is a path such as `.spec.replicas`, `manager` the server's words on who owns it.
 */
export function fieldConflicts(error: unknown): Array<{ field: string; manager: string }> {
  if (!(error instanceof ApiError) || error.status !== 409) return [];
  return (error.details?.causes ?? [])
    .filter((cause) => cause.reason === "FieldManagerConflict")
    .map((cause) => ({ field: cause.field ?? "", manager: cause.message ?? "" }));
}
