import { checkpoints, requests } from "../../api/kinds.ts";
import { absent } from "../../kube/write.ts";
import type { Context } from "../context.ts";
import { type BegunDump, forgetBegun, readBegun } from "./begun.ts";
import { findLeftBehind } from "./capture.ts";
import { decideDump } from "./decide.ts";

type Sweeping = Pick<Context, "node" | "client" | "archives" | "layout" | "log" | "now">;

/**
 * Removes the archives of dumps that nothing tells of any more: request and Checkpoint went while no agent was there,
 * and nobody waited for it.
 *
 * Guarantees: an archive that a Checkpoint names stays, and so does one of a request that may still come to its
 * Checkpoint, both as the API server knows them and not the cache; and so does every archive that was not made by a
 * dump of kcr's.
 * Errors: those of the API server and of the file system; the signal's reason.
 */
export async function sweepArchives(context: Sweeping, signal: AbortSignal): Promise<void> {
  for (const dump of await readBegun(context.layout)) await sweepDump(context, dump, signal);
}

/** The same for one dump. */
export async function sweepDump(context: Sweeping, dump: BegunDump, signal: AbortSignal): Promise<void> {
  const { node, client, layout, now } = context;
  const request = await client.get(requests, dump.request, { signal }).catch(absent);
  const isThere = request?.metadata.uid === dump.request.uid;
  if (isThere && decideDump(request, node, now()).type !== "nothing") return;
  // After the request: one that has ended has made its Checkpoint before.
  const { items } = await client.listAll(checkpoints, { fieldSelector: `spec.nodeName=${node}`, signal });
  const named = new Set(items.map(({ spec }) => spec.checkpointData));
  if (await isCleared(context, dump, named)) await forgetBegun(layout, dump.request.uid);
}

/** Removes what no Checkpoint names, and says whether nothing is left of the dump then. */
async function isCleared(
  { archives, log, now }: Sweeping,
  { request, target, source, startTime, archive }: BegunDump,
  named: ReadonlySet<string>,
): Promise<boolean> {
  const remove = async (name: string): Promise<void> => {
    await archives.remove(name);
    log.info({ archive: name, request: request.name }, "an archive that belongs to nothing was removed");
  };
  if (archive !== undefined) {
    const isThere = (await archives.find(archive)) !== undefined;
    if (isThere && !named.has(archive)) await remove(archive);
    return !(isThere && named.has(archive));
  }
  const since = new Date(startTime);
  for (;;) {
    const left = await findLeftBehind({ archives, now }, target, source, since, named);
    if (left.type === "unfinished") return false;
    if (left.type === "nothing") break;
    await remove(left.captured.name);
  }
  const own = await archives.candidates(target);
  return !own.some(({ name, modified }) => modified >= since && named.has(name));
}
