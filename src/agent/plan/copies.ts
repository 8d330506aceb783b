import { access } from "node:fs/promises";
import { join } from "node:path";
import type { Checkpoint } from "../../api/checkpoint.ts";
import { COPY_INDEX, CORRUPT_MARK } from "../../store/copy.ts";
import { missing } from "../../store/files.ts";
import { isSha256, type Layout } from "../../store/layout.ts";

/** Name of the Checkpoint's copy on a node, once its archive's digest is known. */
export function copyOf({ status }: Checkpoint): string | undefined {
  const copy = status?.digest?.replace(/^sha256:/, "");
  return isSha256(copy) ? copy : undefined;
}

/** Whether the node has that copy, whole and not known to be damaged. */
export async function hasCopy(layout: Layout, copy: string): Promise<boolean> {
  const isThere = async (name: string): Promise<boolean> =>
    (await access(join(layout.copy(copy), name)).then(() => true, missing)) ?? false;
  return (await isThere(COPY_INDEX)) && !(await isThere(CORRUPT_MARK));
}
