import type { Bytes } from "../bytes.ts";
import { ArchiveError } from "../errors.ts";
import { firstRecord } from "./image.ts";
import { type Fields, parseMessage } from "./message.ts";

/** What lies in a stretch of a process's memory. */
export type MappingKind =
  | "anonymous"
  | "heap"
  | "stack"
  /** A file's, private or shared. */
  | "file"
  | "memfd"
  /** Shared memory without a name (MAP_ANONYMOUS | MAP_SHARED). */
  | "shared"
  /** Shared memory of System V. */
  | "sysv"
  /** The kernel's, in every process: its code and its data for user space. */
  | "vdso"
  | "vvar"
  | "vsyscall"
  /** A ring of io_setup(2), or of a packet socket. */
  | "aio"
  | "packet";

/** A mapping, without what other images say of it. `end` is the first address after it. */
export interface Vma {
  start: bigint;
  end: bigint;
  /** Bytes. */
  size: number;
  kind: MappingKind;
  /** As in /proc/<pid>/maps: `rw-p`, and `s` in place of `p` for a mapping that is shared. */
  permissions: string;
  /** Bytes from the start of the file or shared memory. */
  offset: bigint;
  /** Of the file (an id of files.img) or of the shared memory; meaningless for others. */
  sourceId: bigint;
}

/** The memory of a process as mm-<pid>.img describes it (images/mm.proto). Ranges are [start, end). */
export interface MemoryDescriptor {
  arguments: AddressRange;
  environment: AddressRange;
  /** Where its stack began: the number of its arguments stands there, then the addresses of each. */
  stackStart: bigint;
  /** The executable, by its id in files.img. */
  exeFileId: number;
  /** Of the machine that it ran on, in bytes; undefined when the image does not say. */
  pageSize: number | undefined;
  /** In the order of their addresses, and apart from each other. */
  mappings: readonly Vma[];
}

export interface AddressRange {
  start: bigint;
  end: bigint;
}

/** Bits of a vma's status: criu/include/image.h. */
const STATUS = {
  vsyscall: 1n << 2n,
  vdso: 1n << 3n,
  heap: 1n << 5n,
  filePrivate: 1n << 6n,
  fileShared: 1n << 7n,
  anonymousShared: 1n << 8n,
  sysv: 1n << 10n,
  packet: 1n << 11n,
  vvar: 1n << 12n,
  aio: 1n << 13n,
  memfd: 1n << 14n,
  guard: 1n << 16n,
} as const;

const PROT_READ = 1;
const PROT_WRITE = 2;
const PROT_EXEC = 4;
const MAP_SHARED = 0x01;
const MAP_GROWSDOWN = 0x100;
/** AT_PAGESZ of the auxiliary vector: getauxval(3). */
const AT_PAGESZ = 6n;

/** Reads mm-<pid>.img. Errors: `ArchiveError`; `malformed` also for mappings that overlap or go backwards. */
export async function readMemoryDescriptor(image: Bytes): Promise<MemoryDescriptor> {
  const mm = parseMessage(image.name, await firstRecord(image, "mm"));
  const range = (first: number): AddressRange => ({
    start: mm.big(first) ?? 0n,
    end: mm.big(first + 1) ?? 0n,
  });
  const stack = mm.big(5) ?? 0n;
  const mappings: Vma[] = [];
  let last = 0n;
  for (const vma of mm.messages(14)) {
    // Behind all others stand, since 4.2, the pages within them that madvise(2) made guards (MADV_GUARD_INSTALL).
    if (((vma.big(7) ?? 0n) & STATUS.guard) !== 0n) continue;
    const mapping = mappingOf(vma, stack);
    if (mapping.start < last || mapping.end <= mapping.start || mapping.size > Number.MAX_SAFE_INTEGER) {
      throw new ArchiveError("malformed", `${image.name}: a mapping at 0x${mapping.start.toString(16)}`);
    }
    last = mapping.end;
    mappings.push(mapping);
  }
  return {
    arguments: range(8),
    environment: range(10),
    stackStart: stack,
    exeFileId: mm.number(12) ?? 0,
    pageSize: pageSizeOf(mm.bigs(13)),
    mappings,
  };
}

function mappingOf(vma: Fields, stack: bigint): Vma {
  const start = vma.big(1) ?? 0n;
  const end = vma.big(2) ?? 0n;
  const prot = vma.number(5) ?? 0;
  const flags = vma.number(6) ?? 0;
  const bit = (mask: number, letter: string) => ((prot & mask) !== 0 ? letter : "-");
  const isShared = (flags & MAP_SHARED) !== 0;
  const holdsStack = (flags & MAP_GROWSDOWN) !== 0 || (start <= stack && stack < end);
  return {
    start,
    end,
    size: Number(end - start),
    kind: kindOf(vma.big(7) ?? 0n, holdsStack),
    permissions: `${bit(PROT_READ, "r")}${bit(PROT_WRITE, "w")}${bit(PROT_EXEC, "x")}${isShared ? "s" : "p"}`,
    offset: vma.big(3) ?? 0n,
    sourceId: vma.big(4) ?? 0n,
  };
}

function kindOf(status: bigint, holdsStack: boolean): MappingKind {
  const has = (bit: bigint) => (status & bit) !== 0n;
  if (has(STATUS.vsyscall)) return "vsyscall";
  if (has(STATUS.vdso)) return "vdso";
  if (has(STATUS.vvar)) return "vvar";
  if (has(STATUS.aio)) return "aio";
  if (has(STATUS.packet)) return "packet";
  if (has(STATUS.sysv)) return "sysv";
  if (has(STATUS.memfd)) return "memfd";
  if (has(STATUS.filePrivate) || has(STATUS.fileShared)) return "file";
  if (has(STATUS.anonymousShared)) return "shared";
  if (has(STATUS.heap)) return "heap";
  return holdsStack ? "stack" : "anonymous";
}

/** Pairs of a type and a value. */
function pageSizeOf(auxiliary: readonly bigint[]): number | undefined {
  for (let i = 0; i + 1 < auxiliary.length; i += 2) {
    const value = auxiliary[i + 1]!;
    const isPageSize = auxiliary[i] === AT_PAGESZ && value >= 4096n && value <= 1n << 20n;
    if (isPageSize && (value & (value - 1n)) === 0n) return Number(value);
  }
  return undefined;
}
