import { mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** One hierarchy of control groups, as the host has mounted it. */
export interface Hierarchy {
  path: string;
  type: "cgroup" | "cgroup2";
  /** Options that mount the same hierarchy again elsewhere. */
  options: string;
  /** cgroup v1: the controllers (or `name=systemd`) of this hierarchy. */
  controllers: string[];
}

/** How this machine keeps its control groups: version 1 (also with an unused v2 beside it) or version 2. */
export interface CgroupLayout {
  version: 1 | 2;
  hierarchies: Hierarchy[];
}

const ROOT = "/sys/fs/cgroup";
const v1Controllers = new Set(
  "blkio cpu cpuacct cpuset devices freezer hugetlb memory misc net_cls net_prio perf_event pids rdma".split(
    " ",
  ),
);

/**
 * The one place that decides between cgroup versions.
 *
 * @param mounts the contents of /proc/mounts.
 * Errors: a machine without control groups.
 */
export function cgroupLayout(mounts: string): CgroupLayout {
  const hierarchies = mounts.split("\n").flatMap((line): Hierarchy[] => {
    const [, path = "", type = "", options = ""] = line.split(" ");
    if (path !== ROOT && dirname(path) !== ROOT) return [];
    if (type === "cgroup2") return [{ path, type, options: "", controllers: [] }];
    if (type !== "cgroup") return [];
    const controllers = options.split(",").filter((one) => v1Controllers.has(one) || one.startsWith("name="));
    const named = controllers.some((one) => one.startsWith("name="));
    return [{ path, type, options: (named ? ["none", ...controllers] : controllers).join(","), controllers }];
  });
  const unified = hierarchies.find(({ path }) => path === ROOT);
  if (unified?.type === "cgroup2") return { version: 2, hierarchies: [unified] };
  if (!hierarchies.some(({ controllers }) => controllers.includes("memory"))) {
    throw new Error(`no control groups are mounted under ${ROOT}`);
  }
  return { version: 1, hierarchies };
}

export async function hostCgroups(): Promise<CgroupLayout> {
  return cgroupLayout(await readFile("/proc/mounts", "utf8"));
}

/**
 * Makes a group in every hierarchy, and makes it usable: on v1 its CPUs and memory nodes are its parent's, on v2
 * every controller is passed down to it. `group` is a path without a leading slash.
 */
export async function createCgroup(layout: CgroupLayout, group: string): Promise<void> {
  for (const { path, type, controllers } of layout.hierarchies) {
    let parent = path;
    for (const part of group.split("/")) {
      if (layout.version === 2) await passControllersDown(parent);
      const child = join(parent, part);
      await mkdir(child, { recursive: true });
      if (type === "cgroup" && controllers.includes("cpuset")) {
        for (const file of ["cpuset.cpus", "cpuset.mems"]) {
          if ((await readFile(join(child, file), "utf8")).trim() !== "") continue;
          await writeFile(join(child, file), await readFile(join(parent, file), "utf8"));
        }
      }
      parent = child;
    }
  }
}

async function passControllersDown(group: string): Promise<void> {
  const available = (await readFile(join(group, "cgroup.controllers"), "utf8"))
    .trim()
    .split(" ")
    .filter(Boolean);
  await writeFile(join(group, "cgroup.subtree_control"), available.map((name) => `+${name}`).join(" "));
}

/** Removes a group and all groups below it, in every hierarchy, waiting for their last processes to be gone. */
export async function removeCgroup(layout: CgroupLayout, group: string, timeoutMs = 10_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (const { path } of layout.hierarchies) {
    for (;;) {
      try {
        await removeTree(join(path, group));
        break;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EBUSY" || Date.now() > deadline) throw error;
        await sleep(50);
      }
    }
  }
}

async function removeTree(group: string): Promise<void> {
  let entries: { name: string; isDirectory(): boolean }[];
  try {
    entries = await readdir(group, { withFileTypes: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  for (const entry of entries) if (entry.isDirectory()) await removeTree(join(group, entry.name));
  await rmdir(group);
}

/** Removes a group in every hierarchy where nothing is in it any more. */
export async function removeCgroupIfEmpty(layout: CgroupLayout, group: string): Promise<void> {
  for (const { path } of layout.hierarchies) {
    await rmdir(join(path, group)).catch((error: NodeJS.ErrnoException) => {
      if (!["ENOENT", "EBUSY", "ENOTEMPTY"].includes(error.code ?? "")) throw error;
    });
  }
}
