import { safe } from "../output/safe.ts";
import { duration, size } from "../output/sizes.ts";
import { endpointText, type SocketRow } from "./files.ts";
import type { ProcessReport, Report } from "./report.ts";
import type { Variable } from "./secrets.ts";
import type { Branch } from "./tree.ts";

/** The report of one checkpoint for people. */
export function reportTree(report: Report): Branch {
  const { container, image, size: sizes } = report;
  const whose = [container.namespace, container.pod, container.name].filter(Boolean).join("/");
  return {
    text: safe(whose || container.id),
    below: [
      ...named([
        ["archive", report.archive],
        ["image", image.name],
        ["image reference", image.reference],
        ["container ID", container.id],
        ["pod UID", container.podUid],
        ["engine", report.engine],
        ["runtime", report.runtime],
        ["architecture", report.architecture],
        ["created", report.created],
        ["checkpointed", report.checkpointed],
        ["restored from", report.restoredFrom],
      ]),
      ...listed("network interfaces", report.networks, (one) => ({
        text: safe([one.network, one.name].filter(Boolean).join(" ") || "interface"),
        below: named([
          ["addresses", one.addresses.join(", ")],
          ["MAC", one.mac],
          ["gateway", one.gateway],
        ]),
      })),
      {
        text: `size: ${size(sizes.archive)}`,
        below: [
          { text: `CRIU images: ${size(sizes.images)}` },
          { text: `memory pages: ${size(sizes.memoryPages)}` },
          ...(sizes.gpuPages > 0 ? [{ text: `GPU memory pages: ${size(sizes.gpuPages)}` }] : []),
          ...(sizes.rootfsDiff > 0 ? [{ text: `root file system: ${size(sizes.rootfsDiff)}` }] : []),
        ],
      },
      ...listed("problems", report.problems, (problem) => ({ text: safe(problem) })),
      ...statistics(report),
      ...listed("annotations", report.metadata && Object.entries(report.metadata.annotations), annotation),
      ...processes(report.processes),
      ...listed("mounts", report.mounts, ({ destination, type, source }) => ({
        text: safe(`${destination}: ${type}${source === "" || source === type ? "" : ` of ${source}`}`),
      })),
    ],
  };
}

const named = (pairs: readonly (readonly [string, string | undefined])[]): Branch[] =>
  pairs.flatMap(([name, value]) => (value ? [{ text: `${name}: ${safe(value)}` }] : []));

const listed = <T>(title: string, all: readonly T[] | undefined, branch: (one: T) => Branch): Branch[] =>
  all === undefined || all.length === 0 ? [] : [{ text: title, below: all.map(branch) }];

function statistics({ statistics: stats }: Report): Branch[] {
  if (stats === undefined) return [];
  return [
    {
      text: "CRIU's statistics",
      below: [
        { text: `freezing: ${duration(stats.freezingUs)}` },
        { text: `frozen: ${duration(stats.frozenUs)}` },
        { text: `memory dump: ${duration(stats.memdumpUs)}` },
        { text: `memory write: ${duration(stats.memwriteUs)}` },
        { text: `pages scanned: ${stats.pagesScanned}` },
        { text: `pages left to the parent: ${stats.pagesSkipped}` },
        { text: `pages written: ${stats.pagesWritten}` },
      ],
    },
  ];
}

/** Engines keep JSON in some: as a tree it can be read. */
function annotation([key, value]: [string, string]): Branch {
  if (/^[[{]/.test(value)) {
    try {
      const parsed: unknown = JSON.parse(value);
      return { text: safe(key), below: jsonBranches(parsed, 0) };
    } catch (error) {
      if (!(error instanceof SyntaxError || error instanceof RangeError)) throw error;
    }
  }
  return { text: safe(`${key}: ${value}`) };
}

const JSON_DEPTH = 20;

function jsonBranches(value: unknown, depth: number): Branch[] {
  return Object.entries(value as object).map(([key, inner]: [string, unknown]) =>
    typeof inner === "object" && inner !== null && depth < JSON_DEPTH
      ? { text: safe(key), below: jsonBranches(inner, depth + 1) }
      : { text: safe(`${key}: ${typeof inner === "string" ? inner : JSON.stringify(inner)}`) },
  );
}

function processes(all: readonly ProcessReport[] | undefined): Branch[] {
  if (all === undefined) return [];
  return [{ text: "processes", below: processBranches(all) }];
}

/** Processes below their parents, each with what is known of it. Parents stand before their children. */
export function processBranches(all: readonly ProcessReport[]): Branch[] {
  const roots: Branch[] = [];
  const below = new Map<number, Branch[]>();
  for (const process of all) {
    const inside = insideBranches(process);
    below.set(process.pid, inside);
    (below.get(process.ppid) ?? roots).push({ text: processText(process), below: inside });
  }
  return roots;
}

export function processText(process: ProcessReport): string {
  const command = process.arguments === undefined ? process.name : commandOf(process);
  return safe(`${process.pid} ${stateOf(process)}${command}`);
}

const stateOf = (process: ProcessReport): string =>
  process.state === "alive" ? "" : `(${stateText(process)}) `;

/** `alive`, `dead, exit code 3`, `dead, signal 9`. */
export function stateText({ state, exit }: ProcessReport): string {
  if (exit === undefined) return state;
  return `${state}, ${"code" in exit ? `exit code ${exit.code}` : `signal ${exit.signal}`}`;
}

/** The command line as a shell would take it; without arguments the name, in brackets as ps has it. */
export function commandOf({ arguments: args, name }: Pick<ProcessReport, "arguments" | "name">): string {
  return args === undefined || args.length === 0 ? `[${name}]` : args.map(quoted).join(" ");
}

const quoted = (text: string): string =>
  /^[\w@%+=:,./*?-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;

function insideBranches({ executable, environment, files, sockets }: ProcessReport): Branch[] {
  return [
    ...named([["executable", executable]]),
    ...listed("environment", environment, (variable) => ({ text: variableText(variable) })),
    ...listed("open files", files, (file) => ({
      text: safe(
        `${file.fd}${file.access ? ` ${file.access}` : ""} ${file.name}${file.deleted ? " (deleted)" : ""}`,
      ),
    })),
    ...listed("sockets", sockets, (socket) => ({ text: safe(`${socket.fd} ${socketText(socket)}`) })),
  ];
}

export const variableText = ({ name, value }: Variable): string => safe(`${name}=${value}`);

/** `TCP LISTEN 0.0.0.0:80`, `UNIX STREAM LISTEN /run/x.sock`. */
export function socketText(socket: SocketRow): string {
  const { kind, type, protocol, state } = socket;
  const buffers = `(send ${size(socket.sendBuffer)}, receive ${size(socket.receiveBuffer)})`;
  const what =
    kind === "inet" ? protocol : [kind.toUpperCase(), kind === "netlink" ? protocol : type].join(" ");
  return [what, state, localText(socket), arrow(remoteText(socket)), buffers].filter(Boolean).join(" ");
}

const arrow = (text: string | undefined): string | undefined => text && `-> ${text}`;

/** Where a socket is; a UNIX one by its name, or by its inode. */
export function localText({ kind, local, name, abstract, inode }: SocketRow): string | undefined {
  if (local !== undefined) return endpointText(local);
  if (kind !== "unix") return undefined;
  return name === undefined ? `socket:[${inode}]` : (abstract ? "@" : "") + name;
}

/** What it is connected to. */
export function remoteText({ remote, peer }: SocketRow): string | undefined {
  if (remote !== undefined) return remote.port === 0 ? undefined : endpointText(remote);
  return peer === undefined ? undefined : `socket:[${peer}]`;
}
