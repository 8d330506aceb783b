import { KcrError } from "../../api/errors.ts";
import { checkpoints } from "../../api/kinds.ts";
import type { KubeObject } from "../../kube/resources.ts";
import { confirm } from "../ask.ts";
import type { Connection } from "../cluster.ts";
import { EXIT } from "../exit.ts";
import { type Io, print } from "../io.ts";
import { nameOfObject, OWN } from "../objects/kinds.ts";
import { observe } from "../objects/observe.ts";
import type { Target } from "../objects/target.ts";
import { startProgress } from "../output/progress.ts";
import { safe } from "../output/safe.ts";

export interface DeleteOptions {
  targets: readonly Target[];
  /** Checkpoints by their labels, besides. */
  selector?: string;
  yes: boolean;
  wait: boolean;
}

/**
 * Deletes kcr's objects, once the person agrees, and waits until they and their bytes are gone.
 *
 * Errors: those of the API.
 */
export async function deleteAll(connection: Connection, io: Io, options: DeleteOptions): Promise<void> {
  const { client, namespace } = connection;
  const { signal } = io;
  // By name, for one may be named twice, or have the labels besides.
  const named = new Map<string, Found>();
  const add = (one: Found) => named.set(nameOf(one), one);
  for (const target of options.targets) {
    const object = await client.get(target.kind.resource, { namespace, name: target.name }, { signal });
    add({ target, object });
  }
  if (options.selector !== undefined) {
    const { items } = await client.listAll(checkpoints, {
      namespace,
      labelSelector: options.selector,
      signal,
    });
    for (const object of items) add({ target: { kind: OWN.checkpoint, name: object.metadata.name }, object });
    if (named.size === 0)
      throw new KcrError("CheckpointNotFound", `no Checkpoint has labels ${options.selector}`);
  }
  const found = [...named.values()];
  const [first] = found;
  const what = found.length === 1 && first ? nameOf(first) : `${found.length} objects, with their bytes,`;
  const question = `Delete ${what} for good?`;
  if (!options.yes && !(await confirm(io, safe(question)))) {
    io.stderr.write("nothing was done\n");
    io.exitCode = EXIT.failed;
    return;
  }
  for (const { target, object } of found) {
    const { uid } = object.metadata;
    await client.delete(target.kind.resource, object.metadata, { preconditions: { uid }, signal });
  }
  for (const one of found) {
    if (options.wait) await untilGone(connection, io, one);
    await print(io, `${safe(nameOf(one))} ${options.wait ? "deleted" : "is being deleted"}`);
  }
}

interface Found {
  target: Target;
  object: KubeObject;
}

const nameOf = ({ target, object }: Found): string => nameOfObject(target.kind.resource, object);

async function untilGone(connection: Connection, io: Io, { target, object }: Found): Promise<void> {
  using progress = startProgress(io, `deleting ${nameOf({ target, object })}`);
  for await (const left of observe(connection, target.kind.resource, object.metadata, io.signal)) {
    if (left === undefined || left.metadata.uid !== object.metadata.uid) return;
    const waits = (left.metadata.finalizers ?? []).map((finalizer) => finalizer.split("/").at(-1));
    if (waits.length > 0) progress.update({ text: `waiting for its ${waits.join(" and ")} to go` });
  }
}
