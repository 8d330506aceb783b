import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { mkdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type CgroupLayout, createCgroup, removeCgroup } from "./cgroups.ts";
import type { Files } from "./config.ts";
import { inNetns, isInNetns, netnsProcesses, pathExists } from "./netns.ts";
import { netnsPath } from "./network.ts";
import { clusterSource, clustersDir, runDir } from "./paths.ts";
import { lastLines, type RunOptions, run } from "./run.ts";
import { until } from "./wait.ts";

/**
 * A node: one tree of processes in its own mount, PID, UTS, IPC and network namespace, under a PID 1 that keeps
 * its programs running. Killing that PID 1 ends everything in it; its data stay in its directory.
 */
export interface NodeSpec {
  /** The Debian tree under its root. */
  rootfs: string;
  files: Files;
  /** Path in the node -> directory of the host that is seen there. */
  binds: Record<string, string>;
}

const BOOT_MS = 20_000;
const STOP_MS = 20_000;
const KILL_MS = 10_000;

/** Where a node's root and data are kept. */
export function nodeDir(cluster: string, node: string): string {
  return join(clustersDir(), cluster, "nodes", node);
}

/** The control group of a node; its own programs are in `system` below it, its pods in `kubepods`. */
export function nodeCgroup(cluster: string, node: string): string {
  return `kcr/${cluster}/${node}`;
}

const systemCgroup = (cluster: string, node: string) => `${nodeCgroup(cluster, node)}/system`;
const pidFile = (cluster: string, node: string) => runDir(cluster, `${node}.pid`);
const bootedFile = (cluster: string, node: string) => runDir(cluster, `${node}.booted`);

/** The host's number for a node's PID 1; undefined when it is not running. */
export async function nodePid(cluster: string, node: string): Promise<number | undefined> {
  const pid = Number(await readFile(pidFile(cluster, node), "utf8").catch(() => ""));
  // A number may have been given to another process since; none but the node's are in its network namespace.
  return pid > 0 && (await isInNetns(pid, netnsPath(cluster, node))) ? pid : undefined;
}

/** Starts a node, or leaves it running if it was booted with the same spec; one that was not is booted anew. */
export async function ensureNode(
  cluster: string,
  node: string,
  spec: NodeSpec,
  cgroups: CgroupLayout,
  signal?: AbortSignal,
): Promise<void> {
  const scripts = await Promise.all(["boot.sh", "init.sh"].map((name) => script(name)));
  const version = createHash("sha256")
    .update(JSON.stringify([spec, cgroups, scripts]))
    .digest("hex");
  const booted = await readFile(bootedFile(cluster, node), "utf8").catch(() => "");
  if ((await nodePid(cluster, node)) !== undefined) {
    if (booted === version) return;
    await stopNode(cluster, node);
  }
  await endProcesses(netnsPath(cluster, node));

  const dir = nodeDir(cluster, node);
  const group = systemCgroup(cluster, node);
  for (const name of ["upper", "work", "root", "data", "log"])
    await mkdir(join(dir, name), { recursive: true });
  await rm(join(dir, "files"), { recursive: true, force: true });
  await rm(join(dir, "lower"), { force: true });
  await symlink(spec.rootfs, join(dir, "lower"));
  const files: Files = {
    ...spec.files,
    "/etc/kcr/init.sh": scripts[1]!,
    "/etc/machine-id": machineId(cluster, node),
  };
  for (const [path, content] of Object.entries(files)) {
    const target = join(dir, "files", path);
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, content, { mode: path.startsWith("/etc/kcr/") ? 0o600 : 0o644 });
  }
  const binds = { "/var/log/kcr": join(dir, "log"), ...spec.binds };
  for (const source of Object.values(binds)) await mkdir(source, { recursive: true });
  const table = (rows: readonly (readonly string[])[]) => rows.map((row) => `${row.join("\t")}\n`).join("");
  await writeFile(
    join(dir, "binds"),
    table(Object.entries(binds).map(([target, source]) => [source, target])),
  );
  await writeFile(
    join(dir, "cgroups"),
    table(cgroups.hierarchies.map(({ path, type, options }) => [path, type, group, options])),
  );
  await boot(cluster, node, cgroups, signal);
  await writeFile(bootedFile(cluster, node), version);
}

/** Boots a node as it was last prepared by `ensureNode`. */
async function boot(
  cluster: string,
  node: string,
  cgroups: CgroupLayout,
  signal: AbortSignal | undefined,
): Promise<void> {
  const dir = nodeDir(cluster, node);
  await rm(pidFile(cluster, node), { force: true });
  // No group outlives a machine's reboot; the kubelet waits long for the containers of those that did.
  await removeCgroup(cgroups, nodeCgroup(cluster, node));
  await createCgroup(cgroups, systemCgroup(cluster, node));
  const logFile = join(dir, "boot.log");
  const log = openSync(logFile, "w");
  const command = inNetns(netnsPath(cluster, node), [
    ...["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--propagation", "private"],
    ...["sh", join(clusterSource, "node/boot.sh"), dir, pidFile(cluster, node), node],
  ]);
  const child = spawn(command[0]!, command.slice(1), {
    cwd: "/",
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C.UTF-8" },
    stdio: ["ignore", log, log],
    detached: true,
  });
  closeSync(log);
  let ended = false;
  child.once("exit", () => {
    ended = true;
  });
  child.once("error", () => {
    ended = true;
  });
  child.unref();
  try {
    await until(
      `${node} has booted`,
      async () => {
        const pid = await nodePid(cluster, node);
        return ended || (pid !== undefined && (await pathExists(`/proc/${pid}/root/run/kcr`)));
      },
      { timeoutMs: BOOT_MS, intervalMs: 20, signal },
    );
    if (ended) throw new Error(`${node} ended while it booted`);
  } catch (error) {
    child.kill("SIGKILL");
    await endProcesses(netnsPath(cluster, node));
    signal?.throwIfAborted();
    const said = await readFile(logFile, "utf8").catch(() => "");
    throw new Error(`${node} did not boot:\n${lastLines(said)}`, { cause: error });
  }
}

/** Boots a node that was stopped, as it was. Errors: one that was never up. */
export async function startNode(
  cluster: string,
  node: string,
  cgroups: CgroupLayout,
  signal?: AbortSignal,
): Promise<void> {
  if ((await nodePid(cluster, node)) !== undefined) return;
  if (!(await pathExists(bootedFile(cluster, node))))
    throw new Error(`${node} of cluster ${cluster} was never up`);
  await endProcesses(netnsPath(cluster, node));
  await boot(cluster, node, cgroups, signal);
}

/** Ends a node: gracefully (the kubelet first, then SIGTERM to all), or as if its power went. */
export async function stopNode(cluster: string, node: string, { kill = false } = {}): Promise<void> {
  const netns = netnsPath(cluster, node);
  const pid = await nodePid(cluster, node);
  if (pid !== undefined && !kill) {
    process.kill(pid, "SIGTERM");
    await until(`${node} has stopped`, async () => !(await isInNetns(pid, netns)), {
      timeoutMs: STOP_MS,
    }).catch(() => {}); // what did not stop by itself is killed
  }
  await endProcesses(netns, pid);
}

/** Kills all that runs in a network namespace, a node's PID 1 first: the rest of the node goes with it. */
export async function endProcesses(netns: string, first?: number): Promise<void> {
  const kill = (pid: number) => {
    try {
      process.kill(pid, "SIGKILL");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  };
  if (first !== undefined && (await isInNetns(first, netns))) kill(first);
  await until(
    "all processes of the node are gone",
    async () => {
      const left = await netnsProcesses(netns);
      left.forEach(kill);
      return left.length === 0;
    },
    { timeoutMs: KILL_MS, intervalMs: 20 },
  );
}

/**
 * Command line that runs another in a node, in all its namespaces.
 *
 * Errors: a node that is not running.
 */
export async function inNode(cluster: string, node: string, argv: readonly string[]): Promise<string[]> {
  const pid = await nodePid(cluster, node);
  if (pid === undefined) throw new Error(`${node} of cluster ${cluster} is not running`);
  const paths = ["kubernetes", "containerd", "runc", "cni", "etcd", "registry"].map(
    (name) => `/opt/kcr/${name}`,
  );
  const path = [...paths, "/usr/sbin:/usr/bin:/sbin:/bin"].join(":");
  return [
    ...["nsenter", "--target", `${pid}`, "--mount", "--uts", "--ipc", "--net", "--pid", "--"],
    ...[
      "env",
      "-i",
      "-C",
      "/",
      `PATH=${path}`,
      "HOME=/root",
      `TERM=${process.env["TERM"] ?? "dumb"}`,
      ...argv,
    ],
  ];
}

/** Runs a command in a node and returns its standard output. Errors: see `run` and `inNode`. */
export async function nodeExec(
  cluster: string,
  node: string,
  argv: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  return run(await inNode(cluster, node, argv), options);
}

/** When a node's program was started, in whole seconds since 1970, as milliseconds; undefined if it is not running. */
export async function programStart(
  cluster: string,
  node: string,
  program: string,
): Promise<number | undefined> {
  const pid = await nodePid(cluster, node);
  if (pid === undefined) return undefined;
  try {
    const { mtimeMs } = await stat(`/proc/${pid}/root/run/kcr/${program}.pid`);
    return Math.floor(mtimeMs / 1000) * 1000;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Where a program of a node writes what it has to say. */
export function logPath(cluster: string, node: string, program: string): string {
  return join(nodeDir(cluster, node), "log", `${program}.log`);
}

function script(name: string): Promise<string> {
  return readFile(join(clusterSource, "node", name), "utf8");
}

function machineId(cluster: string, node: string): string {
  return `${createHash("sha256").update(`${cluster}/${node}`).digest("hex").slice(0, 32)}\n`;
}
