import type { Bytes } from "../bytes.ts";
import { ArchiveError } from "../errors.ts";
import type { Tar } from "../tar.ts";

/**
 * CRIU's image files: two magic numbers, then records of a length and a protobuf message (criu/include/magic.h,
 * criu/protobuf.c). All numbers are little-endian.
 */
const COMMON_MAGIC = 0x54564319;
const SERVICE_MAGIC = 0x55105940;

/** The second magic number of each file that is read here; of those in the second part nothing else is known. */
export const IMAGE_MAGIC = {
  inventory: 0x58313116,
  pstree: 0x50273030,
  core: 0x55053847,
  ids: 0x54432030,
  mm: 0x57492820,
  pagemap: 0x56084025,
  fdinfo: 0x56213732,
  files: 0x56303138,
  remaps: 0x59133954,
  memfds: 0x48453499,
  fs: 0x51403912,
  mounts: 0x55563928,
  stats: 0x57093306,

  cgroup: 0x59383330,
  utsNamespace: 0x54473203,
  ipcVariables: 0x53115007,
  networkNamespace: 0x55933752,
  networkDevices: 0x57373951,
  timeNamespace: 0x43114433,
  userNamespace: 0x55474906,
  seccomp: 0x64413049,
  ttyInfo: 0x59453036,
  fileLocks: 0x54323616,
  cpuInfo: 0x61404013,
  tcpStream: 0x51465506,
  socketQueues: 0x56264026,
  pipesData: 0x56453709,
  fifoData: 0x59333054,
  ghostFile: 0x52583605,
} as const;

export type ImageKind = keyof typeof IMAGE_MAGIC;

/** An image of a checkpoint's archive, by its file name. Errors: `missing`. */
export function needImage(tar: Tar, name: string): Bytes {
  const image = tar.open(`checkpoint/${name}`);
  if (image === undefined) throw new ArchiveError("missing", `${tar.bytes.name}: has no checkpoint/${name}`);
  return image;
}

/** How an image of that kind begins. */
export function imageHead(kind: Exclude<ImageKind, "inventory">): Uint8Array {
  const head = Buffer.allocUnsafe(8);
  head.writeUInt32LE(COMMON_MAGIC, 0);
  head.writeUInt32LE(IMAGE_MAGIC[kind], 4);
  return head;
}

const RECORD_LIMIT = 16 * 1024 * 1024;

/** Where an image's records begin. Errors: `malformed` when it is not of this kind; `truncated`. */
export async function openImage(bytes: Bytes, kind: ImageKind): Promise<number> {
  const wanted = IMAGE_MAGIC[kind];
  const head = await bytes.read(0, Math.min(8, bytes.size));
  const [first, second] = [
    head.length >= 4 && head.readUInt32LE(0),
    head.length >= 8 && head.readUInt32LE(4),
  ];
  // The inventory carries no common magic: it is what tells old images from new ones.
  if (kind === "inventory" && first === wanted) return 4;
  if ((first === COMMON_MAGIC || first === SERVICE_MAGIC) && second === wanted) return 8;
  throw new ArchiveError("malformed", `${bytes.name}: not an image of CRIU's of kind ${kind}`);
}

/** How much of an image is read at once. */
const BATCH_BYTES = 256 * 1024;

/**
 * The messages of an image, some at a time, for files whose records hold nothing else. They are views of memory of
 * their own.
 */
export async function* imageBatches(
  bytes: Bytes,
  kind: ImageKind,
): AsyncGenerator<Buffer[], void, undefined> {
  let at = await openImage(bytes, kind);
  for (let wanted = BATCH_BYTES; at < bytes.size; ) {
    const chunk = await bytes.read(at, Math.min(wanted, bytes.size - at));
    const records: Buffer[] = [];
    let used = 0;
    let next = 4;
    for (;;) {
      if (used + 4 > chunk.length) break;
      const length = chunk.readUInt32LE(used);
      if (length > RECORD_LIMIT) {
        throw new ArchiveError(
          "too-large",
          `${bytes.name}: a record of ${length} bytes at byte ${at + used}`,
        );
      }
      next = 4 + length;
      if (used + next > chunk.length) break;
      records.push(chunk.subarray(used + 4, used + next));
      used += next;
    }
    if (used === 0 && at + chunk.length === bytes.size) {
      throw new ArchiveError("truncated", `${bytes.name}: ends within the record at byte ${at}`);
    }
    if (records.length > 0) yield records;
    at += used;
    wanted = Math.max(BATCH_BYTES, next);
  }
}

/** The messages of an image, one after the other, for files whose records hold nothing else. */
export async function* imageRecords(bytes: Bytes, kind: ImageKind): AsyncGenerator<Buffer, void, undefined> {
  for await (const records of imageBatches(bytes, kind)) yield* records;
}

/** The first message of an image. Errors: `truncated` when there is none. */
export async function firstRecord(bytes: Bytes, kind: ImageKind): Promise<Buffer> {
  for await (const record of imageRecords(bytes, kind)) return record;
  throw new ArchiveError("truncated", `${bytes.name}: holds no record`);
}
