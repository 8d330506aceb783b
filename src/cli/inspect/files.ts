import type { OpenFile } from "../../archive/criu/files.ts";
import {
  type InetSocket,
  netlinkProtocol,
  socketProtocol,
  socketState,
  socketType,
} from "../../archive/criu/sockets.ts";

/** O_ACCMODE of open(2). */
const ACCESS = ["r", "w", "rw"] as const;

/** What -o json shows of an open descriptor. */
export interface FileRow {
  pid: number;
  process: string;
  /** Its number, or where the process stood. */
  fd: number | "cwd" | "root";
  kind: OpenFile["kind"];
  /** How it was opened, where that is known. */
  access?: "r" | "w" | "rw";
  /** A path, or what tells it from others of its kind. */
  name: string;
  /** Of the file in CRIU's images: descriptors with one id share their position. */
  id?: number;
  closeOnExec?: boolean;
  deleted?: true;
  /** In bytes, of regular files and memfds. */
  position?: number;
  size?: number;
}

/** What -o json shows of an open socket. */
export interface SocketRow {
  pid: number;
  process: string;
  fd: number;
  kind: "inet" | "unix" | "packet" | "netlink";
  /** IPv4 or IPv6, of inet sockets. */
  family?: string;
  type?: string;
  /** TCP, UDP ... */
  protocol?: string;
  state?: string;
  local?: Endpoint;
  remote?: Endpoint;
  /** Of UNIX sockets: a path, or with `abstract` a name. */
  name?: string;
  abstract?: true;
  inode?: number;
  peer?: number;
  /** In bytes. */
  sendBuffer: number;
  receiveBuffer: number;
}

export interface Endpoint {
  address: string;
  port: number;
}

/** CLONE_NEW flags: include/uapi/linux/sched.h. */
const NAMESPACES: Readonly<Record<number, string>> = {
  128: "time",
  131072: "mnt",
  33554432: "cgroup",
  67108864: "uts",
  134217728: "ipc",
  268435456: "user",
  536870912: "pid",
  1073741824: "net",
};

/** How it was opened, where that is known. */
export function accessOf(file: OpenFile): FileRow["access"] {
  return "flags" in file ? ACCESS[file.flags & 3] : undefined;
}

/** A path, or what tells a file from others of its kind, much as /proc/<pid>/fd has it. */
export function nameOf(file: OpenFile): string {
  switch (file.kind) {
    case "regular":
      return file.path;
    case "memfd":
      return `/memfd:${file.name}`;
    case "fifo":
    case "tty":
      return file.path ?? `[${file.kind}]`;
    case "pipe":
      return `pipe:[${file.pipeId}]`;
    case "inet":
      return inetName(file);
    case "unix":
      return file.name === undefined
        ? `socket:[${file.inode}]${file.peer === undefined ? "" : ` -> socket:[${file.peer}]`}`
        : (file.isAbstract ? "@" : "") + file.name;
    case "packet":
      return "[packet socket]";
    case "netlink":
      return `[netlink ${netlinkProtocol(file.protocol)}]`;
    case "eventfd":
      return `[eventfd ${file.counter}]`;
    case "eventpoll":
      return `[eventpoll of ${file.watched.join(", ") || "nothing"}]`;
    case "inotify":
      return `[inotify of ${file.watches}]`;
    case "fanotify":
      return `[fanotify of ${file.marks}]`;
    case "signalfd":
      return `[signalfd 0x${file.signals.toString(16)}]`;
    case "timerfd":
      return "[timerfd]";
    case "namespace":
      return `${NAMESPACES[file.type] ?? "namespace"}:[${file.namespaceId}]`;
    case "tun":
      return `/dev/net/tun${file.device === undefined ? "" : ` (${file.device})`}`;
    case "bpfmap":
      return `[bpf map ${file.name}]`;
    case "pidfd":
      return `[pidfd ${file.pid ?? "?"}]`;
    case "external":
      return "[external]";
    case "unknown":
      return `[type ${file.type}]`;
    default:
      return file satisfies never;
  }
}

/** The socket that a descriptor was opened on; undefined where it is none. */
export function socketOf(
  at: Pick<SocketRow, "pid" | "process" | "fd">,
  file: OpenFile,
): SocketRow | undefined {
  switch (file.kind) {
    case "inet": {
      const { kind, family, type, protocol, state, sendBuffer, receiveBuffer } = file;
      const local = { address: file.localAddress, port: file.localPort };
      const remote = { address: file.remoteAddress, port: file.remotePort };
      return { ...at, kind, family, type, protocol, state, local, remote, sendBuffer, receiveBuffer };
    }
    case "unix": {
      const { kind, type, state, name, inode, peer, sendBuffer, receiveBuffer } = file;
      const abstract = file.isAbstract ? true : undefined;
      return { ...at, kind, type, state, name, abstract, inode, peer, sendBuffer, receiveBuffer };
    }
    case "packet": {
      const { kind, type, protocol, sendBuffer, receiveBuffer } = file;
      const of = { type: socketType(type), protocol: socketProtocol(protocol) };
      return { ...at, kind, ...of, sendBuffer, receiveBuffer };
    }
    case "netlink": {
      const { kind, protocol, state, sendBuffer, receiveBuffer } = file;
      const of = { protocol: netlinkProtocol(protocol), state: socketState(state) };
      return { ...at, kind, ...of, sendBuffer, receiveBuffer };
    }
    default:
      return undefined;
  }
}

/** `127.0.0.1:80`, `[::1]:80`, and `*` for port 0. */
export const endpointText = ({ address, port }: Endpoint): string =>
  `${address.includes(":") ? `[${address}]` : address}:${port === 0 ? "*" : port}`;

function inetName(socket: InetSocket): string {
  const local = endpointText({ address: socket.localAddress, port: socket.localPort });
  const remote = endpointText({ address: socket.remoteAddress, port: socket.remotePort });
  const isConnected = socket.remotePort !== 0;
  return `${socket.protocol} ${local}${isConnected ? ` -> ${remote}` : ""} ${socket.state}`;
}
