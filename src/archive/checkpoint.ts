import { type Bytes, FileBytes } from "./bytes.ts";
import { compressionOf } from "./compression.ts";
import { readArchitecture } from "./criu/core.ts";
import { type ImageKind, openImage } from "./criu/image.ts";
import { type DumpStats, readDumpStats } from "./criu/stats.ts";
import { type DirectDump, readDirectDump } from "./direct.ts";
import { type DumpLog, readDumpLog } from "./dump-log.ts";
import { ArchiveError } from "./errors.ts";
import {
  type ConfigDump,
  type Engine,
  engineOf,
  type Identity,
  identityOf,
  readConfigDump,
  readSpecDump,
  readStatusDump,
  restoredFromOf,
  type SpecDump,
} from "./metadata.ts";
import { readTar, type Tar } from "./tar.ts";
import { unpackTar } from "./unpacking.ts";

/** A checkpoint archive that lies open. Closed by `await using` or `close()`. */
export interface CheckpointArchive {
  readonly path: string;
  /** Of the archive, in bytes. */
  readonly size: number;
  readonly engine: Engine;
  readonly identity: Identity;
  readonly config: ConfigDump;
  readonly spec: SpecDump;
  /** The image that this container had itself been restored from, where the engine notes it (containerd). */
  readonly restoredFrom: string | undefined;
  /** Undefined when the archive holds none. */
  readonly stats: DumpStats | undefined;
  /** Of a dump made by kcr itself beside the engine; undefined for one that the engine made. */
  readonly direct: DirectDump | undefined;
  /** CRIU's log of the dump. Undefined when the archive holds none: containerd and Podman may leave it out. */
  readonly log: DumpLog | undefined;
  /** Of the dumped processes (GOARCH); undefined when CRIU's images do not say. */
  readonly architecture: string | undefined;
  /** What a restore needs and is not there, or not what it should be; a sentence each. */
  readonly problems: readonly string[];
  /** No problems. */
  readonly isWhole: boolean;
  readonly tar: Tar;
  /** The archive as it lies there, compressed when it is. */
  readonly bytes: OwnedBytes;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface OpenOptions {
  signal?: AbortSignal;
  /**
   * Whether the archive may be compressed as a whole, with gzip or zstd, as Podman's are: see `unpackTar` for what
   * that costs. Without it such an archive is `malformed`, for the node's runtime takes none.
   */
  mayBeCompressed?: boolean;
}

/** Bytes that are let go of when they are no longer read. */
export type OwnedBytes = Bytes & {
  /** What its digest has to be (`sha256:...`), where that is known. */
  readonly digest?: string;
  close(): Promise<void>;
};

/**
 * Opens the archive of a container's checkpoint, as the kubelet or Podman writes it: a file by its path, or bytes
 * that lie elsewhere, which it then closes. Only headers and small entries are read, whatever its size.
 *
 * Errors: `ArchiveError`: `truncated` when the file is cut off, `missing` without config.dump or spec.dump,
 * `unsupported` when no known engine made it, `malformed`, `too-large`; those of the file system.
 */
export async function openCheckpoint(
  source: string | OwnedBytes,
  { signal, mayBeCompressed = false }: OpenOptions = {},
): Promise<CheckpointArchive> {
  await using resources = new AsyncDisposableStack();
  const file = typeof source === "string" ? await FileBytes.open(source) : source;
  resources.defer(() => file.close());
  const path = file.name;
  const compression = mayBeCompressed ? await compressionOf(file) : "none";
  const tar =
    compression === "none" ? await readTar(file, { signal }) : resources.use(await unpackTar(file, signal));
  const config = await readConfigDump(tar);
  const spec = await readSpecDump(tar);
  const status = await readStatusDump(tar);
  const engine = engineOf(path, spec);
  const problems: string[] = [];
  const check = <T>(part: () => Promise<T>) => noting(problems, part);
  await check(async () => assertEntries(tar, engine));
  await check(() => assertImage(tar, "checkpoint/inventory.img", "inventory"));
  await check(() => assertImage(tar, "checkpoint/pstree.img", "pstree"));
  const architecture = await check(() => architectureOf(tar));
  const statsDump = tar.open("stats-dump");
  const stats = statsDump && (await check(() => readDumpStats(statsDump)));
  const dumpLog = tar.open("dump.log");
  const identity = identityOf(path, engine, config, spec, status);
  const direct = await readDirectDump(tar);
  const log = dumpLog && (await readDumpLog(dumpLog));
  const owned = resources.move();
  return {
    path,
    size: file.size,
    engine,
    identity,
    config,
    spec,
    restoredFrom: restoredFromOf(status),
    stats,
    direct,
    log,
    architecture,
    problems,
    isWhole: problems.length === 0,
    tar,
    bytes: file,
    close: () => owned.disposeAsync(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Runs a part; what is wrong with the archive becomes a problem, what is wrong with anything else stays an error. */
async function noting<T>(problems: string[], part: () => Promise<T>): Promise<T | undefined> {
  try {
    return await part();
  } catch (error) {
    if (!(error instanceof ArchiveError)) throw error;
    problems.push(error.message);
    return undefined;
  }
}

/** containerd will not restore without status.dump. */
function assertEntries(tar: Tar, engine: Engine): void {
  if (engine === "containerd" && !tar.open("status.dump")) {
    throw new ArchiveError("missing", `${tar.bytes.name}: has no status.dump`);
  }
}

async function assertImage(tar: Tar, name: string, kind: ImageKind): Promise<void> {
  const bytes = tar.open(name);
  if (!bytes) throw new ArchiveError("missing", `${tar.bytes.name}: has no ${name}`);
  await openImage(bytes, kind);
}

/** By the first process; all have the same. */
async function architectureOf(tar: Tar): Promise<string | undefined> {
  for (const { name } of tar.entries()) {
    const core = /^checkpoint\/core-[0-9]+\.img$/.test(name) && tar.open(name);
    if (core) return await readArchitecture(core);
  }
  throw new ArchiveError("missing", `${tar.bytes.name}: has no process (checkpoint/core-*.img)`);
}
