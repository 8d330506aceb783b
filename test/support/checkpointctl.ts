import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureBinaries } from "../../cluster/binaries.ts";
import { run } from "../../cluster/run.ts";
import type { OpenFile } from "../../src/archive/criu/files.ts";
import type { FileRow, SocketRow } from "../../src/cli/inspect/files.ts";
import type { ProcessReport, Report } from "../../src/cli/inspect/report.ts";

/** Runs checkpointctl, with a directory of its own for what it unpacks; returns what it has printed. */
export async function checkpointctl(args: readonly string[], scratch?: string): Promise<string> {
  const { "checkpointctl/checkpointctl": binary } = await ensureBinaries(["checkpointctl/checkpointctl"]);
  const made = scratch ?? (await mkdtemp(join(tmpdir(), "kcr-checkpointctl-")));
  try {
    return await run([binary!, ...args], { env: { ...process.env, TMPDIR: made } });
  } finally {
    if (scratch === undefined) await rm(made, { recursive: true });
  }
}

type Json = Record<string, unknown>;

/** A report of ours, with everything in it and secrets shown, as checkpointctl's JSON would have it. */
export function asCheckpointctl(report: Report): Json {
  const { container, size, statistics: stats, networks } = report;
  const processes = report.processes ?? [];
  const addresses = networks?.flatMap((one) => one.addresses).map((address) => address.replace(/\/\d+$/, ""));
  return compact({
    container_name: container.name,
    image: report.image.name,
    id: container.id,
    runtime: report.runtime,
    created: toSecond(report.created),
    checkpointed: toSecond(report.checkpointed),
    engine: { containerd: "containerd", "cri-o": "CRI-O", podman: "Podman" }[report.engine],
    ip: addresses?.join(", "),
    mac: networks?.flatMap(({ mac }) => mac ?? []).join(", "),
    networks: networks && networksOf(networks),
    checkpoint_size: compact({
      total_size: size.images,
      memory_pages_size: size.memoryPages,
      amd_gpu_memory_pages_size: size.gpuPages,
      root_fs_diff_size: size.rootfsDiff,
    }),
    statistics: compact({
      freezing_time: stats?.freezingUs,
      frozen_time: stats?.frozenUs,
      memdump_time: stats?.memdumpUs,
      memwrite_time: stats?.memwriteUs,
      pages_scanned: stats?.pagesScanned,
      pages_written: stats?.pagesWritten,
    }),
    metadata: compact({
      pod_name: container.pod,
      kubernetes_namespace: container.namespace,
      annotations: report.metadata?.annotations,
    }),
    process_tree: treeOf(processes),
    file_descriptors: processes.flatMap(({ pid, files, sockets }) =>
      files === undefined ? [] : { pid, open_files: files.map((file) => fileOf(file, sockets ?? [])) },
    ),
    sockets: processes.flatMap(({ pid, sockets = [] }) =>
      sockets.length === 0 ? [] : { pid, open_sockets: sockets.map(socketOf) },
    ),
    mounts: report.mounts?.map(({ destination, type, source }) => ({ destination, type, source })),
  });
}

/** Brings checkpointctl's own JSON into an order that it does not keep, and takes away what means nothing. */
export function settled(theirs: Json): Json {
  const tree = theirs["process_tree"] as Json | undefined;
  return compact({ ...theirs, process_tree: tree && settledProcess(tree) });
}

function settledProcess(process: Json): Json {
  const { children, cmdline, environment_variables, ...rest } = process;
  return compact({
    ...rest,
    // Where a program shows its state in place of its arguments the NULs behind it become blanks.
    cmdline: (cmdline as string | undefined)?.trimEnd(),
    environment_variables: environment_variables as Json,
    children: (children as Json[] | undefined)
      ?.map(settledProcess)
      .sort((a, b) => Number(a["pid"]) - Number(b["pid"])),
  });
}

/** Go leaves out what is zero, empty or nothing. */
function compact(json: Json): Json {
  const isNothing = (value: unknown) =>
    value === undefined ||
    value === 0 ||
    value === "" ||
    (Array.isArray(value) && value.length === 0) ||
    (typeof value === "object" && value !== null && !Array.isArray(value) && Object.keys(value).length === 0);
  return Object.fromEntries(Object.entries(json).filter(([, value]) => !isNothing(value)));
}

const toSecond = (time: string | undefined): string | undefined => time?.replace(/\.\d+/, "");

function networksOf(networks: NonNullable<Report["networks"]>): Json[] {
  const named = Map.groupBy(
    networks.filter(({ network }) => network !== undefined),
    ({ network }) => network,
  );
  return [...named].map(([name, interfaces]) => ({
    name,
    interfaces: Object.fromEntries(
      interfaces.map((one) => [
        one.name,
        compact({ ip: one.addresses.at(-1), mac: one.mac, gateway: one.gateway }),
      ]),
    ),
  }));
}

function treeOf(processes: readonly ProcessReport[]): Json {
  const nodes = new Map(processes.map((process) => [process.pid, { process, children: [] as Json[] }]));
  // Children stand behind their parents.
  const json = (process: ProcessReport, children: Json[]): Json =>
    compact({
      pid: process.pid,
      command: process.name,
      task_state: process.state.charAt(0).toUpperCase() + process.state.slice(1),
      cmdline: process.arguments?.join(" ").trimEnd(),
      environment_variables: Object.fromEntries(
        (process.environment ?? []).map(({ name, value }) => [name, value]),
      ),
      children,
    });
  for (const process of processes.toReversed()) {
    const made = json(process, nodes.get(process.pid)!.children.toReversed());
    const parent = nodes.get(process.ppid);
    if (parent === undefined) return made;
    parent.children.push(made);
  }
  throw new Error("no process");
}

/** fd_types of images/fdinfo.proto. */
const TYPES: Readonly<Record<OpenFile["kind"], string>> = {
  regular: "REG",
  pipe: "PIPE",
  fifo: "FIFO",
  inet: "INETSK",
  unix: "UNIXSK",
  eventfd: "EVENTFD",
  eventpoll: "EVENTPOLL",
  inotify: "INOTIFY",
  signalfd: "SIGNALFD",
  packet: "PACKETSK",
  tty: "TTY",
  fanotify: "FANOTIFY",
  netlink: "NETLINKSK",
  namespace: "NS",
  tun: "TUNF",
  external: "EXT",
  timerfd: "TIMERFD",
  memfd: "MEMFD",
  bpfmap: "BPFMAP",
  pidfd: "PIDFD",
  unknown: "UND",
};

function fileOf({ fd, kind, name, id }: FileRow, sockets: readonly SocketRow[]): Json {
  if (typeof fd === "string") return { type: "", fd, path: name };
  const type = TYPES[kind];
  const socket = sockets.find((one) => one.fd === fd);
  return {
    type,
    fd: `${type} ${fd}`,
    path: pathOf(socket) ?? (hasPath(kind) ? name.replace("pipe:", "pipe") : `${type}.${id}`),
  };
}

const hasPath = (kind: OpenFile["kind"]) => kind === "regular" || kind === "pipe";

const pathOf = (socket: SocketRow | undefined): string | undefined =>
  socket?.kind === "unix" ? `unix[${socket.inode} (${socket.peer ?? 0}) ${rawName(socket)}]` : undefined;

/** As it lies in the image: an abstract name begins with a NUL, and a path ends with one, which is no part of it. */
const rawName = ({ name, abstract }: SocketRow): string =>
  name === undefined ? "" : abstract ? `\0${name}` : `${name}\0`;

function socketOf(socket: SocketRow): Json {
  if (socket.kind === "unix") return { data: compact({ type: "UNIX", address: rawName(socket) }) };
  const data = compact({
    type: socket.protocol,
    state: socket.state,
    src: socket.local?.address,
    src_port: socket.local?.port,
    dst: socket.remote?.address,
    dst_port: socket.remote?.port,
    send_buf: sizeText(socket.sendBuffer, "B"),
    recv_buf: sizeText(socket.receiveBuffer, "B"),
  });
  return { protocol: socket.protocol, data };
}

/** Its two ways of writing sizes: "16.0 KB" of sockets, "16.0 KiB" of all else. */
export function sizeText(bytes: number, unit: "B" | "iB" = "iB"): string {
  if (bytes < 1024) return `${bytes} B`;
  let value = bytes / 1024;
  let step = 0;
  while (Math.floor(value) >= 1024) {
    value /= 1024;
    step += 1;
  }
  return `${value.toFixed(1)} ${"KMGTPE"[step]}${unit}`;
}

/** The rows of a table of its, by their columns. */
export function tableRows(text: string): Record<string, string>[] {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const rule = lines.findIndex((line) => /^-+( +-+)*$/.test(line.trim()));
  const starts = [...lines[rule]!.matchAll(/-+/g)].map(({ index }) => index);
  const cut = (line: string) => starts.map((start, i) => line.slice(start, starts[i + 1]).trim());
  const headers = cut(lines[rule - 1]!);
  return lines
    .slice(rule + 1)
    .map((line) => Object.fromEntries(cut(line).map((cell, i) => [headers[i]!, cell])));
}

/** Every key there is, with `[]` for the entries of lists and `*` for the keys of those maps that have their own. */
export function keysOf(json: unknown, maps: readonly RegExp[] = []): Set<string> {
  const keys = new Set<string>();
  const walk = (value: unknown, path: string) => {
    if (Array.isArray(value)) for (const entry of value) walk(entry, `${path}[]`);
    else if (typeof value === "object" && value !== null) {
      for (const [key, inner] of Object.entries(value)) {
        const shown = maps.some((map) => map.test(path)) ? "*" : key;
        // A tree's children have the keys that it has.
        const next = path === "" ? shown : `${path.replace(/(?:\.children\[\])+/g, "")}.${shown}`;
        keys.add(next);
        walk(inner, next);
      }
    }
  };
  walk(json, "");
  return keys;
}
