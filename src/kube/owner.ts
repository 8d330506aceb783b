import type { KubeObject, ObjectName, OwnerReference } from "./resources.ts";

/** What points at an object from an Event or a reference field. */
export interface ObjectReference {
  apiVersion: string;
  kind: string;
  name: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
}

/**
 * The reference that makes `owner` the controller of another object: deleting the owner deletes that object, and
 * the owner's foreground deletion waits for it.
 *
 * Errors: an owner without apiVersion, kind or uid (one that was never read from the server) is a TypeError.
 */
export function ownerReference(owner: KubeObject, controller = true): OwnerReference {
  const { apiVersion, kind } = owner;
  const { name, uid } = owner.metadata;
  if (!apiVersion || !kind || !uid)
    throw new TypeError(`${kind ?? "object"} ${name} cannot own: it has no identity yet`);
  return { apiVersion, kind, name, uid, controller, blockOwnerDeletion: true };
}

/** The one owner that controls the object, if any. */
export function controllerOf(object: KubeObject): OwnerReference | undefined {
  return object.metadata.ownerReferences?.find((owner) => owner.controller === true);
}

/** Whether that very owner, by its uid and not by its name, is among the object's owners. */
export function isOwnedBy(object: KubeObject, owner: KubeObject): boolean {
  const { uid } = owner.metadata;
  return (
    uid !== undefined &&
    (object.metadata.ownerReferences?.some((reference) => reference.uid === uid) ?? false)
  );
}

/** The reference to an object as Events and reference fields hold it. Errors: as {@link ownerReference}. */
export function objectRef(object: KubeObject): ObjectReference {
  const { apiVersion, kind } = object;
  const { name, namespace, uid, resourceVersion } = object.metadata;
  if (!apiVersion || !kind) throw new TypeError(`object ${name} has no apiVersion or kind`);
  return { apiVersion, kind, name, namespace, uid, resourceVersion };
}

/** `namespace/name`, or `name` alone for what is cluster-scoped: unique within a resource. */
export function keyOf({ namespace, name }: ObjectName): string {
  return namespace ? `${namespace}/${name}` : name;
}

/** The name that a key of {@link keyOf} stands for. */
export function nameOf(key: string): ObjectName {
  const slash = key.indexOf("/");
  return slash < 0 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}
