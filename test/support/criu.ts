import { IMAGE_MAGIC, type ImageKind } from "../../src/archive/criu/image.ts";
import { criuImage, type EntrySpec, message } from "./archive.ts";

const COMMON = 0x54564319;
export const PAGE = 4096;

/** Bits of a vma's status that tests use. */
export const VMA = { heap: 1n << 5n, filePrivate: 1n << 6n, fileShared: 1n << 7n, shared: 1n << 8n } as const;

export interface VmaSpec {
  start: bigint;
  pages: number;
  /** PROT_ bits; read and write unless said. */
  prot?: number;
  flags?: number;
  status?: bigint;
  offset?: bigint;
  sourceId?: bigint;
}

export interface RunSpec {
  address: bigint;
  pages: number;
  /** PRESENT unless said. */
  flags?: number;
}

/** An entry of an archive: an image of these messages. */
export const image = (kind: ImageKind, name: string, messages: readonly Uint8Array[]): EntrySpec => ({
  name: `checkpoint/${name}`,
  content: criuImage([COMMON, IMAGE_MAGIC[kind]], messages),
});

export interface MemorySpec {
  pid: number;
  vmas: readonly VmaSpec[];
  runs: readonly RunSpec[];
  /** Of the runs that are present, one after the other. */
  pages: Uint8Array;
  /** [start, end). */
  arguments?: readonly [bigint, bigint];
  environment?: readonly [bigint, bigint];
  exeFileId?: number;
  /** Where the stack began. */
  stack?: bigint;
  /** As the auxiliary vector has it; 0 for a vector without. */
  pageSize?: number;
}

/** The images of one process's memory: mm, pagemap and pages, which has the pid for its number. */
export function memoryImages(spec: MemorySpec): EntrySpec[] {
  const { pid, vmas, runs, pages, pageSize = PAGE } = spec;
  const [argStart, argEnd] = spec.arguments ?? [0n, 0n];
  const [envStart, envEnd] = spec.environment ?? [0n, 0n];
  const mm = message({
    5: spec.stack ?? 0,
    8: argStart,
    9: argEnd,
    10: envStart,
    11: envEnd,
    12: spec.exeFileId ?? 0,
    13: pageSize === 0 ? [] : [6, pageSize, 0, 0],
    14: vmas.map(({ start, pages, prot = 3, flags = 0x22, status = 1n, offset = 0n, sourceId = 0n }) =>
      message({
        1: start,
        2: start + BigInt(pages * (pageSize || PAGE)),
        3: offset,
        4: sourceId,
        5: prot,
        6: flags,
        7: status,
        8: 0,
      }),
    ),
  });
  return [
    image("mm", `mm-${pid}.img`, [mm]),
    pagemapImage(`pagemap-${pid}.img`, pid, runs),
    { name: `checkpoint/pages-${pid}.img`, content: pages },
  ];
}

export const pagemapImage = (name: string, pagesId: number, runs: readonly RunSpec[]): EntrySpec =>
  image("pagemap", name, [
    message({ 1: pagesId }),
    ...runs.map(({ address, pages, flags = 4 }) => message({ 1: address, 2: pages, 4: flags, 5: pages })),
  ]);

/**
 * An image of very many messages, made quickly: field 1 of each is its number, from `first` on, times `step`, and `rest` is the
 * same in all.
 */
export function imageOfMany(
  kind: ImageKind,
  count: number,
  {
    first = 0,
    step = 1,
    rest = Buffer.alloc(0),
    head = [],
  }: { first?: number; step?: number; rest?: Uint8Array; head?: Uint8Array[] } = {},
): Buffer {
  // Varints may be longer than they need be: with all of five bytes each message is as long as the next.
  const record = Buffer.from([0, 0, 0, 0, 8, 0, 0, 0, 0, 0, ...rest]);
  record.writeUInt32LE(record.length - 4);
  const records = Buffer.alloc(count * record.length, record);
  for (let i = 0; i < count; i++) {
    const at = i * record.length + 5;
    for (let byte = 0, left = (first + i) * step; byte < 5; byte++, left = Math.floor(left / 128)) {
      records[at + byte] = (left % 128) | (byte < 4 ? 0x80 : 0);
    }
  }
  return Buffer.concat([criuImage([COMMON, IMAGE_MAGIC[kind]], head), records]);
}
