import { type Bytes, bufferBytes, readInto } from "./bytes.ts";
import type { FileTable } from "./criu/files.ts";
import { needImage } from "./criu/image.ts";
import { type MemoryDescriptor, readMemoryDescriptor, type Vma } from "./criu/mm.ts";
import { Pagemap } from "./criu/pagemap.ts";
import { ArchiveError } from "./errors.ts";
import type { Tar } from "./tar.ts";

/** A stretch of a process's memory that is of one kind throughout. */
export interface Mapping extends Vma {
  /** As in /proc/<pid>/maps: a path, `[heap]`, `/memfd:x`; "" for memory without a name. A stranger's string. */
  name: string;
  /** Of the shared memory whose pages these are (pagemap-shmem-<id>.img); undefined for pages of the process's own. */
  sharedId: bigint | undefined;
}

/**
 * A piece of memory, as far as the checkpoint holds it:
 * - present: these bytes
 * - zero: never touched, so it reads as zeros
 * - file: as in the file that is mapped, which is not in CRIU's images
 * - kernel: the kernel puts it there
 * - parent: in the checkpoint that this one builds upon
 * - lazy: it was left in the running process
 * - unmapped: no memory at all
 */
export type MemoryPiece = { address: bigint; length: number } & (
  | { state: "present"; bytes: Buffer; mapping: Mapping }
  | { state: "zero" | "file" | "kernel" | "parent" | "lazy"; mapping: Mapping }
  | { state: "unmapped" }
);

/** A piece of memory, as far as the checkpoint holds it, without its bytes. */
export interface Extent {
  state: Exclude<MemoryPiece["state"], "unmapped">;
  address: bigint;
  /** Bytes. */
  length: number;
}

export interface ReadOptions {
  signal?: AbortSignal;
  /** Bytes of a present piece at most; others are as long as they are. */
  pieceBytes?: number;
  /** Gives the place where the bytes of the next present piece are put; by default in memory of their own. */
  into?: (length: number) => Buffer;
}

const PIECE_BYTES = 1024 * 1024;

/**
 * The memory of one process. It is read where it lies in the archive, and nothing of it is kept.
 *
 * Guarantees: what is held in memory grows with the number of mappings and of runs of pages (each limited), not with
 * their size.
 */
export class AddressSpace {
  readonly pid: number;
  /** Of the machine that was dumped, in bytes. */
  readonly pageSize: number;
  readonly descriptor: MemoryDescriptor;
  /** In the order of their addresses. */
  readonly mappings: readonly Mapping[];
  /** Its own pages, without those it shares. */
  readonly pagemap: Pagemap;
  readonly #tar: Tar;
  /** Pages of shared memory by id; undefined for one that the checkpoint holds nothing of. */
  readonly #shared = new Map<bigint, Source | undefined>();
  readonly #own: Source;

  private constructor(
    tar: Tar,
    pid: number,
    pageSize: number,
    parts: { descriptor: MemoryDescriptor; mappings: Mapping[]; own: Source },
  ) {
    this.#tar = tar;
    this.pid = pid;
    this.pageSize = pageSize;
    this.descriptor = parts.descriptor;
    this.mappings = parts.mappings;
    this.#own = parts.own;
    this.pagemap = parts.own.pagemap;
  }

  /**
   * Opens the memory of a process that was alive or stopped; `files` is what its mappings are named by.
   *
   * Errors: `ArchiveError`: `missing` when the archive holds no memory of such a process, `unsupported` when its page
   * size cannot be known.
   */
  static async open(tar: Tar, pid: number, files: FileTable): Promise<AddressSpace> {
    const descriptor = await readMemoryDescriptor(needImage(tar, `mm-${pid}.img`));
    const { pageSize } = descriptor;
    if (pageSize === undefined) {
      throw new ArchiveError(
        "unsupported",
        `${tar.bytes.name}: mm-${pid}.img does not say how large a page is`,
      );
    }
    const own = await openSource(tar, `pagemap-${pid}.img`, pageSize);
    if (own === undefined) throw missing(tar, `pagemap-${pid}.img`);
    const mappings = descriptor.mappings.map((vma) => resolve(vma, files));
    return new AddressSpace(tar, pid, pageSize, { descriptor, mappings, own });
  }

  /** The mapping that holds this address. */
  find(address: bigint): Mapping | undefined {
    const mapping = this.mappings[this.#indexOf(address)];
    return mapping !== undefined && mapping.start <= address ? mapping : undefined;
  }

  /** The mappings that have something of a range. */
  between(start: bigint, end: bigint): Mapping[] {
    const found: Mapping[] = [];
    for (let i = this.#indexOf(start); i < this.mappings.length && this.mappings[i]!.start < end; i++) {
      found.push(this.mappings[i]!);
    }
    return found;
  }

  /**
   * The memory from `address` on, in order and without gaps, one piece after the other.
   *
   * Errors: `ArchiveError`: `truncated` when the pages end before they should; the signal's reason.
   */
  async *readRange(
    address: bigint,
    length: number,
    { signal, pieceBytes = PIECE_BYTES, into = Buffer.allocUnsafe }: ReadOptions = {},
  ): AsyncGenerator<MemoryPiece, void, undefined> {
    const end = address + BigInt(length);
    let at = address;
    for (let i = this.#indexOf(address); at < end; i++) {
      const mapping = this.mappings[i];
      const start = mapping === undefined || mapping.start > end ? end : mapping.start;
      if (start > at) {
        yield { state: "unmapped", address: at, length: Number(start - at) };
        at = start;
      }
      if (mapping === undefined || at >= end) return;
      const until = mapping.end < end ? mapping.end : end;
      yield* this.#readMapping(mapping, at, Number(until - at), { signal, pieceBytes, into });
      at = until;
    }
  }

  /**
   * Exactly these bytes; memory that was never touched is zeros. It is all held at once: for small pieces.
   *
   * Errors: `ArchiveError`: `missing` when the checkpoint does not hold all of it.
   */
  async read(address: bigint, length: number): Promise<Buffer> {
    const bytes = Buffer.alloc(length);
    for await (const piece of this.readRange(address, length)) {
      if (piece.state === "present") bytes.set(piece.bytes, Number(piece.address - address));
      else if (piece.state !== "zero") {
        const where = `0x${piece.address.toString(16)}`;
        throw new ArchiveError(
          "missing",
          `${this.#tar.bytes.name}: memory at ${where}: ${WHY_NOT[piece.state]}`,
        );
      }
    }
    return bytes;
  }

  async *#readMapping(
    mapping: Mapping,
    address: bigint,
    length: number,
    { signal, pieceBytes, into }: ReadOptions & Required<Pick<ReadOptions, "pieceBytes" | "into">>,
  ): AsyncGenerator<MemoryPiece, void, undefined> {
    for await (const { pages, ...extent } of this.#extents(mapping, address, length)) {
      signal?.throwIfAborted();
      if (extent.state !== "present") {
        yield { ...extent, state: extent.state, mapping };
        continue;
      }
      for (let done = 0; done < extent.length; ) {
        signal?.throwIfAborted();
        const wanted = Math.min(pieceBytes, extent.length - done);
        const bytes = into(wanted);
        await readInto(pages!.source, pages!.offset + done, bytes);
        yield { state: "present", address: extent.address + BigInt(done), length: wanted, bytes, mapping };
        done += wanted;
      }
    }
  }

  /** What the checkpoint holds of a mapping, in order and without gaps, but not the bytes themselves. */
  async *extents(mapping: Mapping): AsyncGenerator<Extent, void, undefined> {
    for await (const { state, address, length } of this.#extents(mapping, mapping.start, mapping.size)) {
      yield { state, address, length };
    }
  }

  async *#extents(
    mapping: Mapping,
    address: bigint,
    length: number,
  ): AsyncGenerator<Extent & { pages?: { source: Bytes; offset: number } }, void, undefined> {
    const { source, base } = await this.#sourceOf(mapping);
    if (source === undefined) {
      yield { state: absentState(mapping), address, length };
      return;
    }
    for (const stretch of source.pagemap.stretches(address - base, length)) {
      const extent = { address: stretch.address + base, length: stretch.length };
      if (stretch.state === "present") {
        yield { state: "present", ...extent, pages: { source: source.pages, offset: stretch.offset } };
      } else yield { state: stretch.state === "absent" ? absentState(mapping) : stretch.state, ...extent };
    }
  }

  /** Whose pages those of a mapping are, and what is to be taken from an address to find them there. */
  async #sourceOf(mapping: Mapping): Promise<{ source: Source | undefined; base: bigint }> {
    const { sharedId } = mapping;
    if (sharedId === undefined) return { source: this.#own, base: 0n };
    if (!this.#shared.has(sharedId)) {
      this.#shared.set(sharedId, await openSource(this.#tar, `pagemap-shmem-${sharedId}.img`, this.pageSize));
    }
    return { source: this.#shared.get(sharedId), base: mapping.start - mapping.offset };
  }

  /** Of the first mapping that ends after this address. */
  #indexOf(address: bigint): number {
    let low = 0;
    let high = this.mappings.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.mappings[middle]!.end > address) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

interface Source {
  pagemap: Pagemap;
  pages: Bytes;
}

const WHY_NOT: Readonly<Record<Exclude<MemoryPiece["state"], "present" | "zero">, string>> = {
  file: "is as in the file mapped there, which is not part of it",
  kernel: "is the kernel's",
  parent: "is in the checkpoint that this one builds upon",
  lazy: "was left in the running process",
  unmapped: "there is none",
};

/** What pages are that a checkpoint holds nothing of. */
function absentState({ kind }: Mapping): "zero" | "file" | "kernel" {
  switch (kind) {
    case "file":
    case "memfd":
      return "file";
    case "vdso":
    case "vvar":
    case "vsyscall":
    case "aio":
    case "packet":
      return "kernel";
    default:
      return "zero";
  }
}

function resolve(vma: Vma, files: FileTable): Mapping {
  const isShared = vma.permissions.endsWith("s");
  switch (vma.kind) {
    case "file": {
      const file = files.get(Number(vma.sourceId));
      const name = file?.kind === "regular" ? file.path + (file.isDeleted ? " (deleted)" : "") : "";
      return { ...vma, name, sharedId: undefined };
    }
    case "memfd": {
      const file = files.get(Number(vma.sourceId));
      if (file?.kind !== "memfd") return { ...vma, name: "/memfd:", sharedId: undefined };
      const sharedId = isShared ? file.sharedId : undefined;
      // Shared memory without a name is a file of the same file system, which the kernel calls so.
      if (file.name === "/dev/zero") return { ...vma, kind: "shared", name: "/dev/zero (deleted)", sharedId };
      return { ...vma, name: `/memfd:${file.name}`, sharedId };
    }
    case "shared":
      return { ...vma, name: `[shmem ${vma.sourceId}]`, sharedId: vma.sourceId };
    case "sysv":
      return { ...vma, name: `[sysv ${vma.sourceId}]`, sharedId: vma.sourceId };
    case "anonymous":
      return { ...vma, name: "", sharedId: undefined };
    default:
      return { ...vma, name: `[${vma.kind}]`, sharedId: undefined };
  }
}

async function openSource(tar: Tar, name: string, pageSize: number): Promise<Source | undefined> {
  const image = tar.open(`checkpoint/${name}`);
  if (image === undefined) return undefined;
  const pagemap = await Pagemap.read(image, pageSize);
  const pages = tar.open(`checkpoint/pages-${pagemap.pagesId}.img`);
  if (pages !== undefined) return { pagemap, pages };
  if (pagemap.presentBytes > 0) throw missing(tar, `pages-${pagemap.pagesId}.img`);
  return { pagemap, pages: bufferBytes(`${tar.bytes.name}: no pages`, Buffer.alloc(0)) };
}

const missing = (tar: Tar, name: string): ArchiveError =>
  new ArchiveError("missing", `${tar.bytes.name}: has no checkpoint/${name}`);
