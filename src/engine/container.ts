import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { DumpError } from "./error.ts";
import { type Containerd, NAMESPACE } from "./shim.ts";

/** A container that runs under containerd and runc, and where on the host all of it lies. */
export interface RunningContainer {
  id: string;
  bundle: string;
  /** Program that containerd calls for it, and the `--root` it is given. */
  runtime: string;
  runtimeRoot: string;
  systemdCgroup: boolean;
  /** Its first process, by the host's numbers, and when that began (clock ticks since boot). */
  init: number;
  began: number;
  /** Where it is frozen: in the freezer's hierarchy of version 1, or in the only one of version 2. */
  cgroup: { path: string; version: 1 | 2 };
  /** Where the overlay that is its root file system keeps what was written. */
  upper: string;
}

/** The shim's own default (cmd/containerd-shim-runc-v2/process/init.go). */
const DEFAULT_RUNTIME_ROOT = "/run/containerd/runc";

/** options.json of a bundle: what the shim was configured with. Without it, it has its defaults. */
const options = z.object({
  binary_name: z.string().optional(),
  root: z.string().optional(),
  systemd_cgroup: z.boolean().default(false),
});

/** runc's state.json (libcontainer/container_linux.go, State), as far as it is needed. */
const state = z.object({
  id: z.string(),
  init_process_pid: z.int().min(2),
  init_process_start: z.int().min(0),
  cgroup_paths: z.record(z.string(), z.string()),
});

/**
 * Finds a container by the runtime's ID of it, which must be a name. `host` is where the host's root is seen.
 *
 * Errors: {@link DumpError} `Gone` for one that is not there, `Unsupported` for one of which not all is known.
 */
export async function findContainer(
  { state: directory }: Containerd,
  id: string,
  host: string,
): Promise<RunningContainer> {
  const bundle = join(directory, "io.containerd.runtime.v2.task", NAMESPACE, id);
  const given = await readJson(join(host, bundle, "options.json"), options);
  const runtimeRoot = join(given?.root || DEFAULT_RUNTIME_ROOT, NAMESPACE);
  const known = await readJson(join(host, runtimeRoot, id, "state.json"), state);
  if (known === undefined) throw new DumpError("Gone", `the runtime knows no container ${id}`);
  // The host's own mounts: what a container has mounted may name any path there is.
  const upper = upperOf((await readText(join(host, "proc/1/mountinfo"))) ?? "", join(bundle, "rootfs"));
  if (upper === undefined) {
    throw new DumpError("Unsupported", "the container's root file system is no overlay that it can write to");
  }
  return {
    id,
    bundle,
    runtime: given?.binary_name || "runc",
    runtimeRoot,
    systemdCgroup: given?.systemd_cgroup ?? false,
    init: known.init_process_pid,
    began: known.init_process_start,
    cgroup: cgroupOf(known.cgroup_paths),
    upper,
  };
}

/** Version 2 has but one group, under the empty name. */
export function cgroupOf(paths: Readonly<Record<string, string>>): RunningContainer["cgroup"] {
  const { freezer, "": unified } = paths;
  if (freezer) return { path: freezer, version: 1 };
  if (unified) return { path: unified, version: 2 };
  throw new DumpError("Unsupported", "the container has no control group in which it could be frozen");
}

/** The upper directory of the overlay that is mounted at `path`; undefined for any other file system. */
export function upperOf(mountinfo: string, path: string): string | undefined {
  const root = mountinfo.split("\n").findLast((line) => line.split(" ")[4] === path);
  const [type, , mounted = ""] = root?.split(" - ")[1]?.split(" ") ?? [];
  if (type !== "overlay") return undefined;
  const option = mounted.split(",").find((one) => one.startsWith("upperdir="));
  const upper = option?.slice("upperdir=".length).replace(/\\([0-7]{3})/g, (_, octal: string) => {
    return String.fromCharCode(Number.parseInt(octal, 8));
  });
  return upper?.startsWith("/") && !upper.includes("\n") ? upper : undefined;
}

async function readJson<T extends z.ZodType>(path: string, schema: T): Promise<z.infer<T> | undefined> {
  const text = await readText(path);
  if (text === undefined) return undefined;
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new DumpError("Unsupported", `${path} is not what it is of a runtime that is known`, { cause });
  }
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw error;
  }
}
