import { release } from "node:os";
import type { Checkpoint } from "../api/checkpoint.ts";
import { KcrError } from "../api/errors.ts";
import type { Facts } from "../api/facts.ts";
import { checkpointAnnotations, userOf } from "../archive/annotations.ts";
import { type CheckpointArchive, openCheckpoint } from "../archive/checkpoint.ts";
import { ArchiveError } from "../archive/errors.ts";
import type { Engine, Identity } from "../archive/metadata.ts";
import { type Archives, archiveName } from "./archives.ts";

/** What the agent needs to know of an archive that is whole. */
export interface Captured {
  /** File name in the checkpoint directory, and its path. */
  name: string;
  path: string;
  sizeBytes: number;
  identity: Identity;
  engine: Engine;
  /** GOARCH of the dumped processes. */
  architecture: string | undefined;
  /** What it says of where it was made. */
  facts: Facts;
  /** How long CRIU kept the container frozen. */
  frozenMicroseconds: number | undefined;
  /** How it was dumped, and how long the container did not run, where that is known. */
  dumpedBy: "kubelet" | "runc";
  pausedMicroseconds: number | undefined;
  copiedBytes: number | undefined;
  /** What CRIU's log says of a dump that did not finish; undefined when it did, or when there is no log. */
  dumpError: string | undefined;
  /** The image that the dumped container had been restored from, where its engine notes that. */
  restoredFrom: string | undefined;
  /** The dumped process's `uid:gid`. */
  user: string;
  /** Of the manifest of an image made of it. */
  annotations: Record<string, string>;
}

/**
 * Reads what an archive says of itself, after making sure that it is whole.
 *
 * Errors: KcrError ArchiveMissing or ArchiveInvalid; those of the file system.
 */
export async function inspect(archives: Archives, name: string): Promise<Captured> {
  if (!archiveName.safeParse(name).success) {
    throw new KcrError("ArchiveInvalid", `${JSON.stringify(name)} names no archive`);
  }
  const file = await archives.find(name);
  if (file === undefined) {
    throw new KcrError("ArchiveMissing", `archive ${name} is not in ${archives.directory}`);
  }
  await using archive = await open(file.path);
  if (!archive.isWhole) throw new KcrError("ArchiveInvalid", archive.problems.join("; "));
  return {
    name,
    path: file.path,
    sizeBytes: archive.size,
    identity: archive.identity,
    engine: archive.engine,
    architecture: archive.architecture,
    facts: factsOf(archive),
    frozenMicroseconds: archive.stats?.frozenUs,
    dumpedBy: archive.direct === undefined ? "kubelet" : "runc",
    pausedMicroseconds: archive.direct?.pausedMicroseconds,
    copiedBytes: archive.direct?.copiedBytes,
    // A dump that finished may well have met errors that do not matter, such as a limit it could not raise.
    dumpError:
      archive.log === undefined || archive.log.finished
        ? undefined
        : (archive.log.errors.at(-1) ?? "the log ends before the dump was finished"),
    restoredFrom: archive.restoredFrom,
    user: userOf(archive),
    annotations: checkpointAnnotations(archive, { kernel: release(), criuVersion: archive.log?.version }),
  };
}

/** The engine says what ran the container: containerd by the name of a shim, `io.containerd.runc.v2`. */
function factsOf({ architecture, engine, config, log }: CheckpointArchive): Facts {
  const runtime = /^io\.containerd\.([a-z0-9-]+)\.v[0-9]+$/.exec(config.runtime)?.[1] ?? config.runtime;
  return {
    architecture,
    engine,
    criu: log?.version,
    xsave: log?.xsave,
    runtime: /^[a-z0-9-]{1,64}$/.test(runtime) ? runtime : undefined,
  };
}

async function open(path: string): Promise<CheckpointArchive> {
  try {
    return await openCheckpoint(path);
  } catch (cause) {
    if (!(cause instanceof ArchiveError)) throw cause;
    throw new KcrError("ArchiveInvalid", cause.message, { cause });
  }
}

/** Whose an archive should be; what is undefined may be anything. */
export interface Owner {
  namespace: string | undefined;
  pod?: string;
  podUID?: string;
  container: string;
}

/** Whose the archive of a Checkpoint should be. */
export const ownerOf = ({ metadata, spec, status }: Checkpoint): Owner => ({
  namespace: metadata.namespace,
  podUID: status?.lineage?.podUID,
  container: spec.containerName,
});

/** Whether an archive is of that container, by what it says of itself: its file name cannot be split safely. */
export const isOf = ({ identity }: Captured, owner: Owner): boolean => isIdentityOf(identity, owner);

export function isIdentityOf(identity: Identity, { namespace, pod, podUID, container }: Owner): boolean {
  const { podNamespace, podName, podUid, containerName } = identity;
  return (
    podNamespace === namespace &&
    containerName === container &&
    (pod === undefined || podName === pod) &&
    (podUID === undefined || podUid === undefined || podUid === podUID)
  );
}

/** For `catch`: an archive that is damaged, or still being written, is undefined; any other error stays one. */
export function unfit(error: unknown): undefined {
  if (error instanceof KcrError) return undefined;
  throw error;
}
