import { ArchiveError } from "../errors.ts";
import type { Fields } from "./message.ts";

/** A socket of IPv4 or IPv6 (images/sk-inet.proto). */
export interface InetSocket {
  kind: "inet";
  family: "IPv4" | "IPv6" | `family ${number}`;
  type: string;
  /** `TCP`, `UDP` ... */
  protocol: string;
  state: string;
  /** Without brackets; empty when the image's is none. */
  localAddress: string;
  localPort: number;
  remoteAddress: string;
  remotePort: number;
  /** Bytes. */
  sendBuffer: number;
  receiveBuffer: number;
  flags: number;
}

/** A UNIX socket (images/sk-unix.proto). */
export interface UnixSocket {
  kind: "unix";
  type: string;
  state: string;
  inode: number;
  /** Inode of the one that it is connected to. */
  peer: number | undefined;
  /** A path, or of an abstract name all after its first NUL; undefined when it has none. */
  name: string | undefined;
  isAbstract: boolean;
  sendBuffer: number;
  receiveBuffer: number;
  flags: number;
}

const FAMILIES: Readonly<Record<number, "IPv4" | "IPv6">> = { 2: "IPv4", 10: "IPv6" };

/** SOCK_ of include/linux/net.h. */
const TYPES: Readonly<Record<number, string>> = {
  1: "STREAM",
  2: "DGRAM",
  3: "RAW",
  4: "RDM",
  5: "SEQPACKET",
  10: "PACKET",
};

/** IPPROTO_ of include/uapi/linux/in.h. */
const PROTOCOLS: Readonly<Record<number, string>> = {
  0: "IP",
  1: "ICMP",
  2: "IGMP",
  6: "TCP",
  17: "UDP",
  58: "ICMPV6",
  132: "SCTP",
  136: "UDPLITE",
  255: "RAW",
  262: "MPTCP",
};

/** include/net/tcp_states.h. */
const STATES: readonly string[] = [
  "NONE",
  "ESTABLISHED",
  "SYN_SENT",
  "SYN_RECV",
  "FIN_WAIT1",
  "FIN_WAIT2",
  "TIME_WAIT",
  "CLOSE",
  "CLOSE_WAIT",
  "LAST_ACK",
  "LISTEN",
  "CLOSING",
  "NEW_SYN_RECV",
];

/** The protocols of netlink sockets: include/uapi/linux/netlink.h. */
const NETLINK_PROTOCOLS: Readonly<Record<number, string>> = {
  0: "ROUTE",
  2: "USERSOCK",
  4: "SOCK_DIAG",
  6: "XFRM",
  9: "AUDIT",
  11: "CONNECTOR",
  12: "NETFILTER",
  15: "KOBJECT_UEVENT",
  16: "GENERIC",
};

export const socketType = (type: number): string => TYPES[type] ?? `type ${type}`;
export const socketProtocol = (protocol: number): string => PROTOCOLS[protocol] ?? `protocol ${protocol}`;
export const socketState = (state: number): string => STATES[state] ?? `state ${state}`;
export const netlinkProtocol = (protocol: number): string =>
  NETLINK_PROTOCOLS[protocol] ?? `protocol ${protocol}`;

export function inetSocket(name: string, socket: Fields): InetSocket {
  const family = socket.number(3) ?? 0;
  return {
    kind: "inet",
    family: FAMILIES[family] ?? `family ${family}`,
    type: socketType(socket.number(4) ?? 0),
    protocol: socketProtocol(socket.number(5) ?? 0),
    state: socketState(socket.number(6) ?? 0),
    localAddress: addressOf(name, socket.numbers(11)),
    localPort: socket.number(7) ?? 0,
    remoteAddress: addressOf(name, socket.numbers(12)),
    remotePort: socket.number(8) ?? 0,
    ...buffersOf(socket.message(14)),
    flags: socket.number(9) ?? 0,
  };
}

export function unixSocket(socket: Fields): UnixSocket {
  const raw = socket.bytes(11) ?? Buffer.alloc(0);
  const isAbstract = raw.length > 1 && raw[0] === 0;
  // A path ends at its first NUL (CRIU keeps that too); an abstract name is all of its bytes.
  const end = raw.indexOf(0);
  const text = isAbstract ? raw.subarray(1) : end < 0 ? raw : raw.subarray(0, end);
  return {
    kind: "unix",
    type: socketType(socket.number(3) ?? 0),
    state: socketState(socket.number(4) ?? 0),
    inode: socket.number(2) ?? 0,
    peer: socket.number(8) || undefined,
    name: text.length === 0 ? undefined : text.toString("utf8"),
    isAbstract,
    ...buffersOf(socket.message(10)),
    flags: socket.number(5) ?? 0,
  };
}

/** Of sk_opts_entry, in bytes. */
export const buffersOf = (options: Fields | undefined): { sendBuffer: number; receiveBuffer: number } => ({
  sendBuffer: options?.number(1) ?? 0,
  receiveBuffer: options?.number(2) ?? 0,
});

/** Of one word (IPv4) or four (IPv6), each as it lies in memory of a little-endian machine. */
function addressOf(name: string, words: readonly number[]): string {
  if (words.length === 0) return "";
  if ((words.length !== 1 && words.length !== 4) || words.some((word) => word > 0xffff_ffff)) {
    throw new ArchiveError("malformed", `${name}: an address of ${words.length} words`);
  }
  const bytes = Buffer.alloc(words.length * 4);
  for (const [index, word] of words.entries()) bytes.writeUInt32LE(word, index * 4);
  return words.length === 1 ? bytes.join(".") : ipv6(bytes);
}

/** RFC 5952: lower case, the longest run of two zero groups or more as `::`, IPv4 within as IPv4. */
function ipv6(bytes: Buffer): string {
  const isMapped = bytes.subarray(0, 10).every((byte) => byte === 0) && bytes.readUInt16BE(10) === 0xffff;
  if (isMapped) return `::ffff:${bytes.subarray(12).join(".")}`;
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(i * 2).toString(16));
  let best = { start: 0, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (groups[start + length] === "0") length += 1;
    if (length > best.length) best = { start, length };
  }
  if (best.length < 2) return groups.join(":");
  return `${groups.slice(0, best.start).join(":")}::${groups.slice(best.start + best.length).join(":")}`;
}
