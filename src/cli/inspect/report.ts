import type { CheckpointArchive } from "../../archive/checkpoint.ts";
import { type FileTable, readFiles } from "../../archive/criu/files.ts";
import type { DumpStats } from "../../archive/criu/stats.ts";
import { readProcessFiles } from "../../archive/descriptors.ts";
import { ArchiveError } from "../../archive/errors.ts";
import { AddressSpace } from "../../archive/memory.ts";
import { type NetworkInterface, readNetworks } from "../../archive/networks.ts";
import {
  isRunning,
  type Process,
  type ProcessTree,
  readArguments,
  readEnvironment,
  readProcesses,
} from "../../archive/processes.ts";
import { UsageError } from "../errors.ts";
import { accessOf, type FileRow, nameOf, type SocketRow, socketOf } from "./files.ts";
import { masked, type Variable, variableOf } from "./secrets.ts";

/** What a report may hold beside the summary. */
export const PARTS = ["ps", "args", "env", "files", "sockets", "mounts", "stats", "metadata"] as const;
export type Part = (typeof PARTS)[number];

export interface ReportOptions {
  parts: ReadonlySet<Part>;
  /** Only this process and those below it. */
  pid?: number;
  /** Whether values of the environment that look like secrets are shown. */
  showSecrets?: boolean;
}

/** What `kcr inspect -o json` shows of a checkpoint. All strings are of strangers. */
export interface Report {
  /** The archive, as it was named. */
  archive: string;
  container: { name: string; id: string; pod?: string; namespace?: string; podUid?: string };
  image: { name: string; reference: string };
  engine: string;
  /** The OCI runtime, by the engine's name for it. */
  runtime: string;
  architecture?: string;
  created?: string;
  checkpointed?: string;
  /** The image of the checkpoint that the container had itself been restored from. */
  restoredFrom?: string;
  networks?: readonly NetworkInterface[];
  size: Sizes;
  /** What a restore needs and is not there, or not what it should be. */
  problems?: readonly string[];
  statistics?: DumpStats;
  metadata?: { annotations: Readonly<Record<string, string>> };
  processes?: readonly ProcessReport[];
  mounts?: readonly { destination: string; type: string; source: string; options: readonly string[] }[];
}

/** In bytes. */
export interface Sizes {
  archive: number;
  /** All that CRIU wrote. */
  images: number;
  /** Of that, memory. */
  memoryPages: number;
  /** Of that, the memory of GPUs (AMD's). */
  gpuPages: number;
  /** What the container has changed in its root file system, as it is packed. */
  rootfsDiff: number;
}

export interface ProcessReport {
  pid: number;
  ppid: number;
  pgid: number;
  sid: number;
  name: string;
  state: Process["state"];
  /** Of one that has ended. */
  exit?: { code: number } | { signal: number };
  /** How many. */
  threads: number;
  uid?: number;
  gid?: number;
  /** Absent for one that has ended, as all below. */
  executable?: string;
  arguments?: readonly string[];
  environment?: readonly Variable[];
  files?: readonly FileRow[];
  sockets?: readonly SocketRow[];
}

/**
 * Reads of an archive what is asked for, and no more.
 *
 * Errors: `ArchiveError`; `UsageError` for a process that is not there.
 */
export async function reportOf(archive: CheckpointArchive, options: ReportOptions): Promise<Report> {
  const { tar, identity, config, spec, engine, problems, stats } = archive;
  const { parts } = options;
  const networks = await readNetworks(tar, engine, spec);
  return {
    archive: archive.path,
    container: {
      name: identity.containerName,
      id: identity.containerId,
      pod: identity.podName,
      namespace: identity.podNamespace,
      podUid: identity.podUid,
    },
    image: { name: config.rootfsImageName, reference: config.rootfsImageRef },
    engine,
    runtime: config.runtime,
    architecture: archive.architecture,
    created: config.createdTime ?? spec.annotations?.["io.kubernetes.cri-o.Created"],
    checkpointed: timeOf(config.checkpointedTime),
    restoredFrom: archive.restoredFrom,
    networks: networks.length === 0 ? undefined : networks,
    size: sizesOf(archive),
    problems: problems.length === 0 ? undefined : problems,
    statistics: parts.has("stats") ? stats : undefined,
    metadata: parts.has("metadata") ? { annotations: spec.annotations ?? {} } : undefined,
    processes: needsProcesses(parts) ? await processesOf(archive, options) : undefined,
    mounts: parts.has("mounts")
      ? (spec.mounts ?? []).map(({ destination, type, source, options }) => ({
          destination,
          type: type ?? "",
          source: source ?? "",
          options: options ?? [],
        }))
      : undefined,
  };
}

const needsProcesses = (parts: ReadonlySet<Part>): boolean =>
  (["ps", "args", "env", "files", "sockets"] as const).some((part) => parts.has(part));

/** Go's zero time stands for none. */
const timeOf = (time: string | undefined): string | undefined =>
  time === undefined || time.startsWith("0001-01-01") ? undefined : time;

export function sizesOf({ tar, size }: Pick<CheckpointArchive, "tar" | "size">): Sizes {
  const sizes: Sizes = { archive: size, images: 0, memoryPages: 0, gpuPages: 0, rootfsDiff: 0 };
  for (const { name, type, size: bytes } of tar.entries()) {
    if (type !== "file") continue;
    if (name.startsWith("checkpoint/")) sizes.images += bytes;
    if (/^checkpoint\/pages-[^/]*\.img$/.test(name)) sizes.memoryPages += bytes;
    if (/^checkpoint\/amdgpu-pages-[^/]*$/.test(name)) sizes.gpuPages += bytes;
    if (name === "rootfs-diff.tar") sizes.rootfsDiff = bytes;
  }
  return sizes;
}

/** What a report holds of all processes together: arguments and environments in characters, descriptors in number. */
const TEXT_LIMIT = 32 * 1024 * 1024;
const ROW_LIMIT = 200_000;

/** Errors: `too-large` when more is asked for than a report holds; of fewer processes it may be less. */
class Budget {
  readonly #archive: string;
  #text = 0;
  #rows = 0;

  constructor(archive: string) {
    this.#archive = archive;
  }

  take({ arguments: args = [], environment = [], files = [], sockets = [] }: Partial<ProcessReport>): void {
    this.#rows += args.length + environment.length + files.length + sockets.length;
    for (const text of args) this.#text += text.length;
    for (const { name, value } of environment) this.#text += name.length + value.length;
    if (this.#text <= TEXT_LIMIT && this.#rows <= ROW_LIMIT) return;
    const what = "more of its processes than is shown at once: choose one with --pid";
    throw new ArchiveError("too-large", `${this.#archive}: ${what}`);
  }
}

async function processesOf(archive: CheckpointArchive, options: ReportOptions): Promise<ProcessReport[]> {
  const { tar } = archive;
  const { parts } = options;
  const tree = await readProcesses(tar);
  const needsFiles = (["args", "env", "files", "sockets"] as const).some((part) => parts.has(part));
  const files = needsFiles ? await readFiles(tar) : undefined;
  const budget = new Budget(archive.path);
  const reports: ProcessReport[] = [];
  for (const { process } of tree.walk(startOf(tree, options.pid))) {
    const { pid, ppid, pgid, sid, name, state, threads, credentials, exitCode } = process;
    const inside = files && isRunning(process) ? await insideOf(archive, process, files, options) : {};
    budget.take(inside);
    reports.push({
      pid,
      ppid,
      pgid,
      sid,
      name,
      state,
      exit: isRunning(process) ? undefined : exitOf(exitCode),
      threads: isRunning(process) ? threads.length : 0,
      ...credentials,
      ...inside,
    });
  }
  return reports;
}

/** What is read of a process that had memory and files. */
async function insideOf(
  { tar }: CheckpointArchive,
  { pid, name }: Process,
  files: FileTable,
  { parts, showSecrets = false }: ReportOptions,
): Promise<Partial<ProcessReport>> {
  const inside: Partial<ProcessReport> = {};
  if (parts.has("args") || parts.has("env")) {
    const memory = await AddressSpace.open(tar, pid, files);
    const executable = files.get(memory.descriptor.exeFileId);
    inside.executable = executable?.kind === "regular" ? executable.path : undefined;
    if (parts.has("args")) inside.arguments = await readArguments(memory);
    if (parts.has("env")) {
      const variables = (await readEnvironment(memory)).map(variableOf);
      inside.environment = showSecrets ? variables : variables.map(masked);
    }
  }
  if (parts.has("files") || parts.has("sockets")) {
    const { descriptors, workingDirectory, root } = await readProcessFiles(tar, pid, files);
    const at = { pid, process: name };
    if (parts.has("files")) {
      inside.files = [
        ...descriptors.map(({ fd, closeOnExec, file }): FileRow => {
          const hasSize = file.kind === "regular" || file.kind === "memfd";
          return {
            ...at,
            fd,
            kind: file.kind,
            access: accessOf(file),
            name: nameOf(file),
            id: file.id,
            closeOnExec,
            deleted: file.kind === "regular" && file.isDeleted ? true : undefined,
            position: hasSize ? Number(file.position) : undefined,
            size: hasSize && file.size !== undefined ? Number(file.size) : undefined,
          };
        }),
        ...(workingDirectory === undefined ? [] : [standing(at, "cwd", workingDirectory)]),
        ...(root === undefined ? [] : [standing(at, "root", root)]),
      ];
    }
    if (parts.has("sockets")) {
      inside.sockets = descriptors.flatMap(({ fd, file }) => socketOf({ ...at, fd }, file) ?? []);
    }
  }
  return inside;
}

const standing = (at: Pick<FileRow, "pid" | "process">, fd: "cwd" | "root", name: string): FileRow => ({
  ...at,
  fd,
  kind: "regular",
  name,
});

function startOf(tree: ProcessTree, pid: number | undefined): readonly Process[] {
  if (pid === undefined) return tree.roots;
  const process = tree.find(pid);
  if (process === undefined) throw new UsageError(`no process ${pid}: kcr ps lists those that there are`);
  return [process];
}

/** Of the status that wait(2) gives. */
const exitOf = (status: number): { code: number } | { signal: number } =>
  (status & 0x7f) === 0 ? { code: (status >> 8) & 0xff } : { signal: status & 0x7f };
