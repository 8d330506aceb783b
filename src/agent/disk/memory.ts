import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { codeOf } from "../store/disk.ts";

/** The node's control groups, as the agent's pod has them; there need not be any. */
export const CGROUPS = "/host/cgroup";

/** So deep lies a container's group below its hierarchy, and so many directories are looked at. */
const DEPTH = 7;
const MOST = 20_000;

/**
 * Bytes of memory that a dump of the container would write: what is its alone or shared, not what files have cached.
 * Undefined where its control group is not found. `id` is the runtime's ID of the container.
 *
 * Source: Documentation/admin-guide/cgroup-v2.rst (memory.stat: anon, shmem; memory.swap.current) and
 * cgroup-v1/memory.rst (memory.stat: total_rss, total_shmem, total_swap).
 */
export async function memoryOf(id: string, root: string = CGROUPS): Promise<number | undefined> {
  // Every name holds the empty one.
  if (id === "") return undefined;
  for (const hierarchy of [join(root, "memory"), root]) {
    const group = await findGroup(hierarchy, id);
    if (group === undefined) continue;
    const stat = await text(join(group, "memory.stat"));
    if (stat === undefined) continue;
    const fields = new Map(
      stat
        .trim()
        .split("\n")
        .map((line) => line.split(" ") as [string, string]),
    );
    const sum = (...names: string[]): number =>
      names.reduce((all, name) => all + Number(fields.get(name) ?? 0), 0);
    if (fields.has("total_rss")) return sum("total_rss", "total_shmem", "total_swap");
    const swap = Number((await text(join(group, "memory.swap.current"))) ?? 0);
    return sum("anon", "shmem") + swap;
  }
  return undefined;
}

/** The directory whose name holds the ID: `<id>`, `cri-containerd-<id>.scope`. */
async function findGroup(hierarchy: string, id: string): Promise<string | undefined> {
  let level = [hierarchy];
  let looked = 0;
  for (let depth = 0; depth < DEPTH && level.length > 0; depth++) {
    const next: string[] = [];
    for (const path of level) {
      looked += 1;
      if (looked > MOST) return undefined;
      for (const entry of await readdir(path, { withFileTypes: true }).catch(gone)) {
        if (!entry.isDirectory()) continue;
        const child = join(path, entry.name);
        if (entry.name.includes(id)) return child;
        next.push(child);
      }
    }
    level = next;
  }
  return undefined;
}

async function text(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    gone(error);
    return undefined;
  }
}

/** A group goes with its processes, at any moment; some may not be read. */
function gone(error: unknown): never[] {
  if (["ENOENT", "ENODEV", "ENOTDIR", "EACCES"].includes(codeOf(error) ?? "")) return [];
  throw error;
}
