import type { View } from "../output/print.ts";
import { size } from "../output/sizes.ts";
import type { Column } from "../output/table.ts";
import type { FileRow, SocketRow } from "./files.ts";
import type { ProcessReport, Report } from "./report.ts";
import type { Variable } from "./secrets.ts";
import { commandOf, localText, remoteText, stateText } from "./text.ts";

/** One line for each checkpoint. */
export function summaryView(reports: readonly Report[]): View<Report> {
  const bytes = (header: string, value: (sizes: Report["size"]) => number, wide = false): Column<Report> => ({
    header,
    value: (report) => size(value(report.size)),
    align: "right",
    wide,
  });
  return {
    columns: [
      { header: "NAMESPACE", value: ({ container }) => container.namespace },
      { header: "POD", value: ({ container }) => container.pod },
      { header: "CONTAINER", value: ({ container }) => container.name },
      { header: "ENGINE", value: ({ engine }) => engine },
      { header: "CHECKPOINTED", value: ({ checkpointed }) => checkpointed },
      bytes("SIZE", ({ archive }) => archive),
      { header: "IMAGE", value: ({ image }) => image.name, wide: true },
      { header: "ID", value: ({ container }) => container.id.slice(0, 12), wide: true },
      { header: "RUNTIME", value: ({ runtime }) => runtime, wide: true },
      { header: "CREATED", value: ({ created }) => created, wide: true },
      bytes("CRIU IMAGES", ({ images }) => images, true),
      bytes("MEMORY", ({ memoryPages }) => memoryPages, true),
      bytes("ROOTFS", ({ rootfsDiff }) => rootfsDiff, true),
      { header: "ARCHIVE", value: ({ archive }) => archive },
    ],
    rows: reports,
    data: reports.length === 1 ? reports[0] : reports,
    none: "no checkpoints",
  };
}

/** The processes, each below its parent. */
export function processView(processes: readonly ProcessReport[]): View<ProcessReport> {
  const depths = depthsOf(processes);
  const indent = (process: ProcessReport) => {
    const depth = depths.get(process.pid) ?? 0;
    return depth === 0 ? "" : `${"  ".repeat(Math.min(depth, 40) - 1)}└─ `;
  };
  return {
    columns: [
      { header: "PID", value: ({ pid }) => pid, align: "right" },
      { header: "PPID", value: ({ ppid }) => ppid, align: "right" },
      { header: "PGID", value: ({ pgid }) => pgid, align: "right", wide: true },
      { header: "SID", value: ({ sid }) => sid, align: "right", wide: true },
      { header: "UID", value: ({ uid }) => uid ?? "-", align: "right" },
      { header: "GID", value: ({ gid }) => gid ?? "-", align: "right", wide: true },
      { header: "THREADS", value: ({ threads }) => threads, align: "right" },
      {
        header: "STATE",
        value: stateText,
        tone: ({ state }) => (state === "alive" ? undefined : "warn"),
      },
      { header: "NAME", value: ({ name }) => name, wide: true },
      { header: "EXECUTABLE", value: ({ executable }) => executable ?? "-", wide: true },
      { header: "COMMAND", value: (process) => indent(process) + commandOf(process) },
    ],
    rows: processes,
    data: { processes },
    name: ({ pid }) => String(pid),
    none: "no processes",
  };
}

/** Parents stand before their children. */
function depthsOf(processes: readonly ProcessReport[]): Map<number, number> {
  const depths = new Map<number, number>();
  for (const { pid, ppid } of processes) {
    const parent = depths.get(ppid);
    depths.set(pid, parent === undefined ? 0 : parent + 1);
  }
  return depths;
}

export function fileView(files: readonly FileRow[]): View<FileRow> {
  return {
    columns: [
      { header: "PID", value: ({ pid }) => pid, align: "right" },
      { header: "PROCESS", value: ({ process }) => process },
      { header: "FD", value: ({ fd }) => fd, align: "right" },
      { header: "ACCESS", value: ({ access }) => access ?? "-" },
      { header: "KIND", value: ({ kind }) => kind },
      { header: "POSITION", value: ({ position }) => position ?? "-", align: "right", wide: true },
      { header: "SIZE", value: ({ size }) => size ?? "-", align: "right", wide: true },
      { header: "ID", value: ({ id }) => id ?? "-", align: "right", wide: true },
      { header: "NAME", value: ({ name, deleted }) => (deleted ? `${name} (deleted)` : name) },
    ],
    rows: files,
    data: { files },
    name: ({ name }) => name,
    none: "no open files",
  };
}

export function socketView(sockets: readonly SocketRow[]): View<SocketRow> {
  return {
    columns: [
      { header: "PID", value: ({ pid }) => pid, align: "right" },
      { header: "PROCESS", value: ({ process }) => process },
      { header: "FD", value: ({ fd }) => fd, align: "right" },
      {
        header: "KIND",
        value: (socket) => (socket.kind === "inet" ? socket.protocol : socket.kind.toUpperCase()),
      },
      { header: "TYPE", value: ({ type }) => type ?? "-" },
      { header: "STATE", value: ({ state }) => state ?? "-" },
      { header: "LOCAL", value: (socket) => localText(socket) ?? "-" },
      { header: "REMOTE", value: (socket) => remoteText(socket) ?? "-" },
      { header: "SEND BUFFER", value: ({ sendBuffer }) => size(sendBuffer), align: "right", wide: true },
      {
        header: "RECEIVE BUFFER",
        value: ({ receiveBuffer }) => size(receiveBuffer),
        align: "right",
        wide: true,
      },
    ],
    rows: sockets,
    data: { sockets },
    name: (socket) => localText(socket) ?? "",
    none: "no open sockets",
  };
}

export interface VariableRow extends Variable {
  pid: number;
  process: string;
}

export function variableView(variables: readonly VariableRow[]): View<VariableRow> {
  return {
    columns: [
      { header: "PID", value: ({ pid }) => pid, align: "right" },
      { header: "PROCESS", value: ({ process }) => process },
      { header: "NAME", value: ({ name }) => name },
      {
        header: "VALUE",
        value: ({ value }) => value || '""',
        tone: ({ masked }) => (masked ? "dim" : undefined),
      },
    ],
    rows: variables,
    data: { environment: variables },
    name: ({ name }) => name,
    none: "no environment: programs may have written over it",
  };
}
