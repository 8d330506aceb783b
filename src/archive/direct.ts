import { z } from "zod";
import type { Tar } from "./tar.ts";

/**
 * What a direct dump (src/engine/kcr-dump.c) adds to an archive: how long the container did not run, and what was
 * copied of its files meanwhile.
 */
const directDump = z.object({
  version: z.literal(1),
  pausedMicroseconds: z.int().nonnegative(),
  copiedBytes: z.int().nonnegative(),
  copyMicroseconds: z.int().nonnegative(),
});
export type DirectDump = z.infer<typeof directDump>;

export const DIRECT_DUMP = "kcr-dump.json";
const MAX_BYTES = 4096;

/** Undefined for an archive that the node's runtime made, and for a note of a version that is not known. */
export async function readDirectDump(tar: Tar): Promise<DirectDump | undefined> {
  const bytes = tar.open(DIRECT_DUMP);
  if (bytes === undefined || bytes.size > MAX_BYTES) return undefined;
  try {
    return directDump.safeParse(JSON.parse((await tar.read(DIRECT_DUMP, MAX_BYTES)).toString("utf8"))).data;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
