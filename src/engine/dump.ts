import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { errorLines } from "../archive/criu/failures.ts";
import { findContainer, type RunningContainer } from "./container.ts";
import { type ContainerStatus, containerStatus } from "./cri.ts";
import { DUMP_REASONS, DumpError, type DumpReason } from "./error.ts";
import { ownContainerd } from "./shim.ts";

/** What a node's direct dumps work with. */
export interface DumpTools {
  /** The program of kcr-dump.c. */
  program: string;
  /** Where dumps are prepared, by container; the same path on the host, on a disk. */
  directory: string;
  /** Where the host's root is seen. */
  host: string;
}

/** Name of a container's archive, beside the one it will have, until it is whole. Of kcr-dump.c. */
export const partOf = (container: string): string => `.${container}.part`;

/** The host's first process has its root: with its process IDs shared, no mount is needed to see it. */
export const HOST_ROOT = "/proc/1/root";

export interface DumpOptions {
  /** The runtime's ID of the container. */
  id: string;
  /** Path of the archive that is made; the same on the host. */
  archive: string;
  /** How long other processes in the container are waited for. */
  waitMs: number;
  /** How long it may be kept from running. */
  pauseMs: number;
  /** A configuration file of CRIU's for this dump, of criu-options.ts; the archive gets it too. */
  criuConfig?: string | undefined;
  now: () => Date;
  /** Told of each step (see kcr-dump.c), and of a process that is waited for. */
  onStep?: (step: string) => void;
}

/**
 * Dumps a container by its runtime, beside containerd: nothing is copied into its content store and out again, and
 * the container is paused no longer than CRIU and the copying of its files take.
 *
 * Flow: what the archive says of the container is written down first; then kcr-dump.c, which does not belong to this
 * process any more once it has begun, does the rest.
 * Guarantees: the archive is there whole or not at all. However this ends, and whoever is killed, the container runs
 * on; what is left behind then is taken up by {@link recover}. Of one container there is never a second dump.
 * Assumptions: this process is privileged, shares the host's process IDs, and runs under the container's containerd.
 * Errors: {@link DumpError}; those of the file system.
 */
export async function directDump(tools: DumpTools, options: DumpOptions): Promise<void> {
  const { id, criuConfig, now } = options;
  const directory = join(tools.directory, id);
  const containerd = await ownContainerd();
  if (containerd === undefined) {
    throw new DumpError("NoHost", "the node's containerd is not to be seen among this process's ancestors");
  }
  const container = await findContainer(containerd, id, tools.host);
  const status = await containerStatus(join(tools.host, containerd.address), id);
  if ((await recover(tools, id)) === "busy") throw new DumpError("Busy", `${id} is being dumped already`);

  const parts = join(directory, "archive");
  await mkdir(parts, { recursive: true, mode: 0o700 });
  try {
    const file = { mode: 0o600, flag: "wx" };
    await copyFile(join(tools.host, container.bundle, "config.json"), join(parts, "spec.dump"));
    await writeFile(join(parts, "config.dump"), configDump(container, status, now()), file);
    await writeFile(join(parts, "status.dump"), status.json, file);
    await copyRuntimeStatus(tools, container, join(parts, "status"));
    if (criuConfig !== undefined) await writeFile(join(directory, "criu.conf"), criuConfig, file);
    await writeFile(join(directory, "job"), jobOf(container, status, containerd.path, options), file);
    await run(tools, directory, options.onStep);
  } catch (error) {
    // Where the program was killed, more than files may be left of it.
    const isBusy = (await recover(tools, id)) === "busy";
    throw isBusy ? new DumpError("Busy", `${id} is still being dumped`, { cause: error }) : error;
  }
}

/** What `kcr-dump run` said at last. */
async function run({ program }: DumpTools, directory: string, onStep: DumpOptions["onStep"]): Promise<void> {
  const child = spawn(program, ["run", directory], { stdio: ["ignore", "pipe", "ignore"], detached: true });
  const ended = once(child, "close");
  let last = "";
  for await (const line of createInterface({ input: child.stdout })) {
    // What it does from here on is to clean up.
    if (line === "done") return;
    last = line;
    if (line.startsWith("step ") || line.startsWith("foreign ")) onStep?.(line);
  }
  await ended;
  const [, reason = "Killed", text = "the dump was killed"] = /^failed (\w+) (.*)$/.exec(last) ?? [];
  const known: DumpReason = DUMP_REASONS.find((one) => one === reason) ?? "Killed";
  if (known !== "Runtime") throw new DumpError(known, text);
  const errors = await criuErrors(directory);
  throw new DumpError("Runtime", errors.at(-1) ?? (await runtimeErrors(directory)) ?? text, { errors });
}

/**
 * Undoes what a dump has left whose program was killed: its container runs on, and nothing of it stays. `busy` while
 * one is under way. Errors: {@link DumpError} `NotThawed`, `NoHost`.
 */
export async function recover({ program, directory }: DumpTools, id: string): Promise<"clean" | "busy"> {
  const child = spawn(program, ["recover", join(directory, id)], { stdio: ["ignore", "pipe", "ignore"] });
  const ended = once(child, "close") as Promise<[number | null]>;
  let last = "";
  for await (const line of createInterface({ input: child.stdout })) last = line;
  const [code] = await ended;
  if (code === 0) return "clean";
  if (code === BUSY) return "busy";
  const [, reason, text = `${basename(program)} ended with ${code}`] = /^failed (\w+) (.*)$/.exec(last) ?? [];
  throw new DumpError(reason === "NotThawed" ? "NotThawed" : "NoHost", text);
}

/** Of kcr-dump.c: keep in step with it. */
const BUSY = 75;

/** The containers of which something is left. */
export async function unfinished({ directory }: DumpTools): Promise<string[]> {
  return await readdir(directory).catch(() => []);
}

/** What kcr-dump.c reads: lines `key=value`. */
function jobOf(
  container: RunningContainer,
  { logPath }: ContainerStatus,
  path: string,
  { archive, waitMs, pauseMs }: DumpOptions,
): string {
  const values = {
    id: container.id,
    runtime: container.runtime,
    root: container.runtimeRoot,
    systemd: container.systemdCgroup ? 1 : 0,
    init: container.init,
    began: container.began,
    cgroup: container.cgroup.path,
    cgroup_version: container.cgroup.version,
    upper: container.upper,
    log: logPath,
    archive,
    path,
    wait_ms: Math.max(0, Math.trunc(waitMs)),
    pause_ms: Math.max(1, Math.trunc(pauseMs)),
  };
  const lines = Object.entries(values).map(([key, value]) => `${key}=${value}`);
  if (lines.some((line) => /[\n\0]/.test(line)))
    throw new DumpError("Unsupported", "a path with a line feed");
  return `${lines.join("\n")}\n`;
}

/** config.dump as containerd writes it (checkpointctl, lib/metadata.go, ContainerConfig). */
function configDump({ id }: RunningContainer, status: ContainerStatus, now: Date): string {
  return JSON.stringify({
    id,
    name: status.name,
    rootfsImage: status.image,
    rootfsImageRef: status.imageRef,
    rootfsImageName: status.image,
    runtime: "io.containerd.runc.v2",
    createdTime: status.created,
    checkpointedTime: now.toISOString(),
    restoredTime: "0001-01-01T00:00:00Z",
    restored: false,
  });
}

/** containerd's own notes of the container, which only readers of archives look at: fine without. */
async function copyRuntimeStatus(
  { host }: DumpTools,
  { id, upper }: RunningContainer,
  to: string,
): Promise<void> {
  const [root] = upper.split("/io.containerd.snapshotter.");
  const from = join(host, root ?? "", "io.containerd.grpc.v1.cri/containers", id, "status");
  await copyFile(from, to).catch(() => rm(to, { force: true }));
}

/** The errors in CRIU's log, none where it did not come to write one. */
async function criuErrors(directory: string): Promise<string[]> {
  return errorLines(await readFile(join(directory, "archive", "dump.log"), "utf8").catch(() => ""));
}

/** What the runtime itself said last: in its log, or on its standard error. */
async function runtimeErrors(directory: string): Promise<string | undefined> {
  const log = await readFile(join(directory, "runtime.json"), "utf8").catch(() => "");
  const messages = [...log.matchAll(/"level":"error","msg":("(?:[^"\\]|\\.)*")/g)];
  const last = messages.at(-1)?.[1];
  if (last !== undefined) return String(JSON.parse(last));
  const said = await readFile(join(directory, "runtime.log"), "utf8").catch(() => "");
  return said.trim().split("\n").at(-1) || undefined;
}
