import { ArchiveError } from "../errors.ts";
import type { Tar } from "../tar.ts";
import { imageBatches, needImage } from "./image.ts";
import { type Fields, parseMessage, signed } from "./message.ts";
import { buffersOf, type InetSocket, inetSocket, type UnixSocket, unixSocket } from "./sockets.ts";

/** What a descriptor or a mapping was opened on, as CRIU keeps it: by an id, shared by those that shared it. */
export type OpenFile = { id: number } & (
  | RegularFile
  | InetSocket
  | UnixSocket
  | Memfd
  | { kind: "pipe"; pipeId: number; flags: number }
  /** `path` is that of the file in the file system, where it is known. */
  | { kind: "fifo"; pipeId: number; path: string | undefined }
  | { kind: "tty"; path: string | undefined; flags: number }
  | { kind: "eventfd"; counter: bigint; flags: number }
  /** `watched` are the descriptors that it waits for. */
  | { kind: "eventpoll"; watched: readonly number[]; flags: number }
  | { kind: "inotify"; watches: number; flags: number }
  | { kind: "fanotify"; marks: number; flags: number }
  /** `signals` has bit n-1 for signal n. */
  | { kind: "signalfd"; signals: bigint; flags: number }
  | { kind: "timerfd"; clock: number; expired: bigint; flags: number }
  | { kind: "packet"; type: number; protocol: number; sendBuffer: number; receiveBuffer: number }
  | { kind: "netlink"; protocol: number; state: number; sendBuffer: number; receiveBuffer: number }
  /** `type` is the namespace's CLONE_ flag. */
  | { kind: "namespace"; namespaceId: number; type: number }
  | { kind: "tun"; device: string | undefined }
  | { kind: "bpfmap"; name: string; type: number }
  | { kind: "pidfd"; pid: number | undefined }
  /** Left to whoever restores. */
  | { kind: "external" }
  /** Of a type that is not known here, or an entry without what its type promises. */
  | { kind: "unknown"; type: number }
);

export interface RegularFile {
  kind: "regular";
  /** As the process saw it; devices and directories too. Of a deleted file, what it was. */
  path: string;
  /** Of open(2). */
  flags: number;
  position: bigint;
  /** Bytes, as far as the image says. */
  size: bigint | undefined;
  /** st_mode, as far as the image says. */
  mode: number | undefined;
  isDeleted: boolean;
}

export interface Memfd {
  kind: "memfd";
  name: string;
  /** Bytes. */
  size: bigint;
  /** Its content is the shared memory of this id. */
  sharedId: bigint | undefined;
  flags: number;
  position: bigint;
}

/** By id. */
export type FileTable = ReadonlyMap<number, OpenFile>;

/** Some hundreds of bytes of memory each. */
const FILE_LIMIT = 200_000;
const MEMFD_LIMIT = 20_000;

/** remap_type of images/remap-file-path.proto: a hard link or a copy in the image stands for a file that was deleted. */
const LINKED = 0;
const GHOST = 1;
const REMAPPED_DELETED: ReadonlySet<number> = new Set([LINKED, GHOST]);

/**
 * All that was open or mapped: files.img, and of what else describes it memfd.img and remap-fpath.img.
 *
 * Sources: images/fdinfo.proto and what it imports. Errors: `ArchiveError`: `missing` without files.img, which CRIU
 * writes since 3.3; `too-large` for more files than are read.
 */
export async function readFiles(tar: Tar): Promise<FileTable> {
  const image = needImage(tar, "files.img");
  const sources: Sources = {
    name: image.name,
    memfds: await readMemfds(tar),
    deleted: await readDeleted(tar),
  };
  const files = new Map<number, OpenFile>();
  /** What has a path by an entry of its own: that entry's id, by its own. */
  const named = new Map<number, number>();
  let count = 0;
  for await (const records of imageBatches(image, "files")) {
    count += records.length;
    if (count > FILE_LIMIT) {
      throw new ArchiveError("too-large", `${image.name}: more than ${FILE_LIMIT} files`);
    }
    for (const record of records) {
      const entry = parseMessage(image.name, record);
      const id = entry.number(2) ?? 0;
      files.set(id, { id, ...decode(entry, id, sources) });
      const regular = entry.message(17)?.number(3) ?? entry.message(19)?.number(6);
      if (regular !== undefined) named.set(id, regular);
    }
  }
  for (const [id, regularId] of named) {
    const file = files.get(id);
    const regular = files.get(regularId);
    if ((file?.kind === "fifo" || file?.kind === "tty") && regular?.kind === "regular") {
      file.path = regular.path;
    }
  }
  return files;
}

interface Sources {
  name: string;
  /** By the inode id that a memfd's entry names. */
  memfds: ReadonlyMap<bigint, Fields>;
  /** Ids of regular files that had been deleted. */
  deleted: ReadonlySet<number>;
}

type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;

/** By fd_types of images/fdinfo.proto; the message of each kind stands in a field of file_entry of its own. */
function decode(entry: Fields, id: number, { name, memfds, deleted }: Sources): WithoutId<OpenFile> {
  const type = entry.number(1) ?? 0;
  const unknown = { kind: "unknown", type } as const;
  const as = <T>(field: number, make: (file: Fields) => T): T | typeof unknown => {
    const file = entry.message(field);
    return file === undefined ? unknown : make(file);
  };
  switch (type) {
    case 1:
      return as(3, (file) => ({
        kind: "regular",
        path: file.text(6) ?? "",
        flags: file.number(2) ?? 0,
        position: file.big(3) ?? 0n,
        size: file.big(8),
        mode: file.number(10),
        isDeleted: deleted.has(file.number(1) ?? id),
      }));
    case 2:
      return as(18, (file) => ({ kind: "pipe", pipeId: file.number(2) ?? 0, flags: file.number(3) ?? 0 }));
    case 3:
      return as(17, (file) => ({ kind: "fifo", pipeId: file.number(2) ?? 0, path: undefined }));
    case 4:
      return as(4, (file) => inetSocket(name, file));
    case 5:
      return as(16, unixSocket);
    case 6:
      return as(8, (file) => ({ kind: "eventfd", counter: file.big(4) ?? 0n, flags: file.number(2) ?? 0 }));
    case 7:
      return as(9, (file) => ({
        kind: "eventpoll",
        watched: Array.from(file.messages(4), (watched) => watched.number(2) ?? 0),
        flags: file.number(2) ?? 0,
      }));
    case 8:
      return as(13, (file) => ({
        kind: "inotify",
        watches: Array.from(file.messages(5)).length,
        flags: file.number(2) ?? 0,
      }));
    case 9:
      return as(10, (file) => ({ kind: "signalfd", signals: file.big(4) ?? 0n, flags: file.number(2) ?? 0 }));
    case 10:
      return as(6, (file) => ({
        kind: "packet",
        type: file.number(2) ?? 0,
        protocol: file.number(3) ?? 0,
        ...buffersOf(file.message(7)),
      }));
    case 11:
      return as(19, (file) => ({ kind: "tty", path: undefined, flags: file.number(3) ?? 0 }));
    case 12:
      return as(14, (file) => ({
        kind: "fanotify",
        marks: Array.from(file.messages(6)).length,
        flags: file.number(2) ?? 0,
      }));
    case 13:
      return as(7, (file) => ({
        kind: "netlink",
        protocol: file.number(3) ?? 0,
        state: file.number(4) ?? 0,
        ...buffersOf(file.message(12)),
      }));
    case 14:
      return as(5, (file) => ({
        kind: "namespace",
        namespaceId: file.number(2) ?? 0,
        type: file.number(3) ?? 0,
      }));
    case 15:
      return as(11, (file) => ({ kind: "tun", device: file.text(2) }));
    case 16:
      return { kind: "external" };
    case 17:
      return as(12, (file) => ({
        kind: "timerfd",
        clock: file.number(4) ?? 0,
        expired: file.big(5) ?? 0n,
        flags: file.number(2) ?? 0,
      }));
    case 18:
      return as(20, (file) => {
        const inode = memfds.get(file.big(5) ?? 0n);
        return {
          kind: "memfd",
          name: inode?.text(1) ?? "",
          size: inode?.big(4) ?? 0n,
          sharedId: inode?.big(5),
          flags: file.number(2) ?? 0,
          position: file.big(3) ?? 0n,
        };
      });
    case 19:
      return as(21, (file) => ({ kind: "bpfmap", name: file.text(13) ?? "", type: file.number(5) ?? 0 }));
    case 20:
      return as(22, (file) => ({ kind: "pidfd", pid: signed(file.big(4)) }));
    default:
      return unknown;
  }
}

async function readMemfds(tar: Tar): Promise<Map<bigint, Fields>> {
  const memfds = new Map<bigint, Fields>();
  const image = tar.open("checkpoint/memfd.img");
  if (image === undefined) return memfds;
  for await (const records of imageBatches(image, "memfds")) {
    for (const record of records) {
      const inode = parseMessage(image.name, record);
      memfds.set(inode.big(7) ?? 0n, inode);
    }
    if (memfds.size > MEMFD_LIMIT) {
      throw new ArchiveError("too-large", `${image.name}: more than ${MEMFD_LIMIT} memfds`);
    }
  }
  return memfds;
}

async function readDeleted(tar: Tar): Promise<Set<number>> {
  const deleted = new Set<number>();
  const image = tar.open("checkpoint/remap-fpath.img");
  if (image === undefined) return deleted;
  for await (const records of imageBatches(image, "remaps")) {
    for (const record of records) {
      const remap = parseMessage(image.name, record);
      // Images of before there were types mark a copy by the highest bit of its id.
      if (REMAPPED_DELETED.has(remap.number(3) ?? GHOST)) deleted.add(remap.number(1) ?? 0);
    }
    if (deleted.size > FILE_LIMIT) {
      throw new ArchiveError("too-large", `${image.name}: more than ${FILE_LIMIT} files`);
    }
  }
  return deleted;
}
