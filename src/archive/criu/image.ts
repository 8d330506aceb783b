import { type Bytes, Window } from "../bytes.ts";
import { ArchiveError } from "../errors.ts";

/**
 * CRIU's image files: two magic numbers, then records of a length and a protobuf message (criu/include/magic.h,
 * criu/protobuf.c). All numbers are little-endian.
 */
const COMMON_MAGIC = 0x54564319;
const SERVICE_MAGIC = 0x55105940;

/** The second magic number of each file that is read here. */
export const IMAGE_MAGIC = {
  inventory: 0x58313116,
  pstree: 0x50273030,
  core: 0x55053847,
  files: 0x56303138,
  mm: 0x57492820,
  stats: 0x57093306,
} as const;

export type ImageKind = keyof typeof IMAGE_MAGIC;

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

/** The messages of an image, one after the other, for files whose records hold nothing else. */
export async function* imageRecords(bytes: Bytes, kind: ImageKind): AsyncGenerator<Buffer, void, undefined> {
  const window = new Window(bytes);
  let at = await openImage(bytes, kind);
  while (at < bytes.size) {
    const length = (await window.read(at, 4)).readUInt32LE(0);
    if (length > RECORD_LIMIT) {
      throw new ArchiveError("too-large", `${bytes.name}: a record of ${length} bytes at byte ${at}`);
    }
    yield Buffer.from(await window.read(at + 4, length));
    at += 4 + length;
  }
}

/** The first message of an image. Errors: `truncated` when there is none. */
export async function firstRecord(bytes: Bytes, kind: ImageKind): Promise<Buffer> {
  for await (const record of imageRecords(bytes, kind)) return record;
  throw new ArchiveError("truncated", `${bytes.name}: holds no record`);
}
