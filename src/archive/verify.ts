import { createHash } from "node:crypto";
import { readInto } from "./bytes.ts";
import type { CheckpointArchive } from "./checkpoint.ts";
import { type FileTable, readFiles } from "./criu/files.ts";
import { type ImageKind, imageBatches, openImage } from "./criu/image.ts";
import { readMemoryDescriptor } from "./criu/mm.ts";
import { Pagemap } from "./criu/pagemap.ts";
import { readProcessFiles } from "./descriptors.ts";
import { ArchiveError } from "./errors.ts";
import { AddressSpace } from "./memory.ts";
import { isRunning, type Process, type ProcessTree, readProcesses } from "./processes.ts";
import { rootfsChanges } from "./rootfs.ts";
import type { Tar } from "./tar.ts";

export interface VerifyOptions {
  /** What the archive's digest has to be, `sha256:...`; without it, what its place says. */
  digest?: string;
  signal?: AbortSignal;
  /** Called with how many bytes of the archive have been read. */
  onProgress?: (bytes: number) => void;
}

/** What was looked at, and what is wrong with it. */
export interface Verification {
  /** `sha256:...`, of all bytes. */
  digest: string;
  /** CRIU's images that were read to their ends. */
  images: number;
  processes: number;
  /** Bytes of pages that are there. */
  memoryBytes: number;
  /** Changes of the root file system. */
  changes: number;
  /** A sentence each; none when all is well. */
  damage: readonly string[];
}

/** Images of which every record is read, by their names; of others in the second list only the beginning. */
const IMAGES: readonly [RegExp, ImageKind][] = [
  [/^inventory$/, "inventory"],
  [/^pstree$/, "pstree"],
  [/^core-[0-9]+$/, "core"],
  [/^ids-[0-9]+$/, "ids"],
  [/^mm-[0-9]+$/, "mm"],
  [/^pagemap-(?:shmem-)?[0-9]+$/, "pagemap"],
  [/^fdinfo-[0-9]+$/, "fdinfo"],
  [/^files$/, "files"],
  [/^remap-fpath$/, "remaps"],
  [/^memfd$/, "memfds"],
  [/^fs-[0-9]+$/, "fs"],
  [/^mountpoints-[0-9]+$/, "mounts"],
  [/^cgroup$/, "cgroup"],
  [/^utsns-[0-9]+$/, "utsNamespace"],
  [/^ipcns-var-[0-9]+$/, "ipcVariables"],
  [/^netns-[0-9]+$/, "networkNamespace"],
  [/^netdev-[0-9]+$/, "networkDevices"],
  [/^timens-[0-9]+$/, "timeNamespace"],
  [/^userns-[0-9]+$/, "userNamespace"],
  [/^seccomp$/, "seccomp"],
  [/^tty-info$/, "ttyInfo"],
  [/^filelocks$/, "fileLocks"],
  [/^cpuinfo$/, "cpuInfo"],
];
const WITH_DATA_BETWEEN: readonly [RegExp, ImageKind][] = [
  [/^tcp-stream-[0-9a-f]+$/, "tcpStream"],
  [/^sk-queues$/, "socketQueues"],
  [/^pipes-data$/, "pipesData"],
  [/^fifo-data$/, "fifoData"],
  [/^ghost-file-[0-9a-f]+$/, "ghostFile"],
];

/**
 * Reads all of an archive, and says what a restore or a reader of it would stumble over: images that are not what
 * they are called or end within a record, processes without their parts, pages that are not all there, files that
 * nothing describes, a root file system that cannot be unpacked, other bytes than the digest says.
 *
 * Errors: those of the place it is read from; the signal's reason.
 */
export async function verifyArchive(
  archive: CheckpointArchive,
  { signal, onProgress, digest: expected = archive.bytes.digest }: VerifyOptions = {},
): Promise<Verification> {
  const { tar } = archive;
  const damage = [...archive.problems];
  const note = async <T>(part: () => Promise<T>): Promise<T | undefined> => {
    signal?.throwIfAborted();
    try {
      return await part();
    } catch (error) {
      if (!(error instanceof ArchiveError)) throw error;
      if (!damage.includes(error.message)) damage.push(error.message);
      return undefined;
    }
  };
  if (archive.log && /Dumping FAILED/.test(archive.log.tail)) {
    damage.push(`${tar.bytes.name}: dump.log says that the dump failed`);
  }
  let images = 0;
  for (const { name } of tar.entries()) if (await note(() => verifyImage(tar, name))) images += 1;
  const tree = await note(() => readProcesses(tar));
  const files = await note(() => readFiles(tar));
  if (tree && files) await verifyProcesses(tar, tree, files, note);
  const pageSize = (await note(() => pageSizeOf(tar))) ?? USUAL_PAGE_SIZE;
  const memoryBytes = await verifyPages(tar, pageSize, note);
  const changes = (await note(() => countChanges(archive, signal))) ?? 0;
  const digest = await digestOf(archive, signal, onProgress);
  if (expected !== undefined && digest !== expected) {
    damage.push(`${archive.bytes.name}: is ${digest}, not ${expected}`);
  }
  return { digest, images, processes: tree?.size ?? 0, memoryBytes, changes, damage };
}

type Note = <T>(part: () => Promise<T>) => Promise<T | undefined>;

/** Whether it is an image that is known. Errors: `ArchiveError`. */
async function verifyImage(tar: Tar, name: string): Promise<boolean> {
  const base = /^checkpoint\/([^/]+)\.img$/.exec(name)?.[1];
  const image = base && tar.open(name);
  if (!image) return false;
  const kindIn = (list: typeof IMAGES) => list.find(([pattern]) => pattern.test(base))?.[1];
  const kind = kindIn(IMAGES);
  if (kind !== undefined) {
    for await (const _ of imageBatches(image, kind));
    return true;
  }
  const other = kindIn(WITH_DATA_BETWEEN);
  if (other !== undefined) await openImage(image, other);
  return other !== undefined;
}

async function verifyProcesses(tar: Tar, tree: ProcessTree, files: FileTable, note: Note): Promise<void> {
  for (const { process } of tree.walk()) {
    if (!isRunning(process)) continue;
    for (const thread of process.threads) await note(() => assertThread(tar, process, thread));
    const { pid } = process;
    await note(async () => {
      for (const { fd, file } of (await readProcessFiles(tar, pid, files)).descriptors) {
        if (!files.has(file.id)) throw broken(tar, `descriptor ${fd} of process ${pid} is of no file`);
      }
    });
    await note(async () => {
      const space = await AddressSpace.open(tar, pid, files);
      for (const { kind, sourceId, start } of space.mappings) {
        if ((kind !== "file" && kind !== "memfd") || files.has(Number(sourceId))) continue;
        throw broken(tar, `the mapping of process ${pid} at 0x${start.toString(16)} is of no file`);
      }
      assertMapped(tar, space);
    });
  }
}

async function assertThread(tar: Tar, { pid }: Process, thread: number): Promise<void> {
  if (tar.open(`checkpoint/core-${thread}.img`)) return;
  throw broken(tar, `thread ${thread} of process ${pid} has no core-${thread}.img`);
}

/** Pages outside of all mappings have no place to go. */
function assertMapped(tar: Tar, { pid, pagemap, mappings }: AddressSpace): void {
  let next = 0;
  for (const { address, length } of pagemap.runs()) {
    const end = address + BigInt(length);
    let at = address;
    for (; next < mappings.length && mappings[next]!.end <= at; next++);
    // A run may go over mappings that adjoin each other.
    for (let i = next; at < end; i++) {
      const mapping = mappings[i];
      if (mapping === undefined || mapping.start > at) {
        throw broken(tar, `process ${pid} has pages at 0x${at.toString(16)}, where nothing is mapped`);
      }
      at = mapping.end;
    }
  }
}

/** Each pages file holds what its pagemap says, no more and no less. Returns how much that is in all. */
async function verifyPages(tar: Tar, pageSize: number, note: Note): Promise<number> {
  let total = 0;
  for (const { name } of tar.entries()) {
    if (!/^checkpoint\/pagemap-(?:shmem-)?[0-9]+\.img$/.test(name)) continue;
    await note(async () => {
      const image = tar.open(name);
      if (image === undefined) throw broken(tar, `${name} is no file`);
      const pagemap = await Pagemap.read(image, pageSize);
      const pages = tar.open(`checkpoint/pages-${pagemap.pagesId}.img`);
      const there = pages?.size ?? 0;
      if (there !== pagemap.presentBytes) {
        throw broken(
          tar,
          `pages-${pagemap.pagesId}.img has ${there} bytes, not the ${pagemap.presentBytes} of ${name}`,
        );
      }
      total += there;
    });
  }
  return total;
}

/** That of the first process that says; all have the same. Where none does, it is the usual one. */
async function pageSizeOf(tar: Tar): Promise<number> {
  for (const { name } of tar.entries()) {
    const mm = /^checkpoint\/mm-[0-9]+\.img$/.test(name) && tar.open(name);
    const pageSize = mm && (await readMemoryDescriptor(mm)).pageSize;
    if (pageSize) return pageSize;
  }
  return USUAL_PAGE_SIZE;
}

const USUAL_PAGE_SIZE = 4096;

async function countChanges(archive: CheckpointArchive, signal?: AbortSignal): Promise<number> {
  let changes = 0;
  for await (const _ of rootfsChanges(archive, { signal })) changes += 1;
  return changes;
}

/** Hashes in one buffer what was read while the other is being filled: new ones would pile up. */
async function digestOf(
  { bytes }: CheckpointArchive,
  signal: AbortSignal | undefined,
  onProgress: VerifyOptions["onProgress"],
): Promise<string> {
  const hash = createHash("sha256");
  const buffers = [Buffer.allocUnsafe(HASHED_BYTES), Buffer.allocUnsafe(HASHED_BYTES)] as const;
  const readAt = async (at: number): Promise<Buffer> => {
    const chunk = buffers[(at / HASHED_BYTES) & 1]!.subarray(0, bytes.size - at);
    await readInto(bytes, at, chunk);
    return chunk;
  };
  let reading = readAt(0);
  try {
    for (let at = 0; at < bytes.size; ) {
      signal?.throwIfAborted();
      const chunk = await reading;
      at += chunk.length;
      if (at < bytes.size) reading = readAt(at);
      hash.update(chunk);
      onProgress?.(at);
    }
  } finally {
    // Nobody reads on once this is left; why it is left is known already.
    await reading.catch(() => {});
  }
  return `sha256:${hash.digest("hex")}`;
}

const HASHED_BYTES = 256 * 1024;

const broken = (tar: Tar, what: string): ArchiveError =>
  new ArchiveError("malformed", `${tar.bytes.name}: ${what}`);
