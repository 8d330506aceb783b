import { rm } from "node:fs/promises";
import { z } from "zod";
import { captureSource } from "../../api/request.ts";
import { namesIn, readIfThere, writeWhole } from "../../store/files.ts";
import { isPodUID, type Layout } from "../../store/layout.ts";
import { archiveName } from "../archives.ts";

const text = z.string().max(253);

const begunDump = z.object({
  request: z.object({ namespace: text, name: text, uid: z.string().refine(isPodUID) }),
  target: z.object({ namespace: text, pod: text, container: text }),
  source: captureSource,
  startTime: z.iso.datetime(),
  /** The archive, once the dump has ended. */
  archive: archiveName.optional(),
});

/**
 * A dump that was begun on this node: `begun/<UID of its request>.json` of kcr's directory. It says which archives are
 * kcr's own when request and Checkpoint are gone, as they may be when a node comes back that nobody waited for.
 */
export type BegunDump = z.infer<typeof begunDump>;

/** Writes down that a dump begins, or how its archive is called. Errors: those of the file system. */
export async function noteBegun(layout: Layout, dump: BegunDump): Promise<void> {
  await writeWhole(layout.begun(dump.request.uid), JSON.stringify(dump));
}

/** Forgets the dump of a request, by its UID; one that is forgotten already is fine. */
export async function forgetBegun(layout: Layout, requestUID: string): Promise<void> {
  await rm(layout.begun(requestUID), { force: true });
}

/** All dumps that are written down. What cannot be read is none. */
export async function readBegun(layout: Layout): Promise<BegunDump[]> {
  const found: BegunDump[] = [];
  for (const file of await namesIn(layout.allBegun)) {
    const uid = file.replace(/\.json$/, "");
    if (!isPodUID(uid)) continue;
    const dump = parse((await readIfThere(layout.begun(uid))) ?? "");
    if (dump?.request.uid === uid) found.push(dump);
  }
  return found;
}

function parse(json: string): BegunDump | undefined {
  try {
    return begunDump.parse(JSON.parse(json));
  } catch {
    return undefined;
  }
}
