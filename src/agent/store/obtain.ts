import type { Checkpoint } from "../../api/checkpoint.ts";
import { KcrError } from "../../api/errors.ts";
import { registryError } from "../../api/registry.ts";
import type { Identity } from "../../archive/metadata.ts";
import { hasCode } from "../../oci/errors.ts";
import { SourceChangedError } from "../../oci/source.ts";
import { type CopyIndex, contentDigest } from "../../store/copy.ts";
import { BY_POD_UID, type Context } from "../context.ts";
import { inspect, isIdentityOf, ownerOf } from "../inspect.ts";
import { copyOf } from "../plan/copies.ts";
import { nodesWith, peerError } from "../transfer/fetch.ts";
import { isDiskFault } from "./disk.ts";
import { archiveFile, archiveInRegistry, hasImage } from "./sources.ts";

export interface Obtained {
  /** Name of the copy: sha256 of the archive. */
  copy: string;
  /** What {@link contentDigest} says of it. */
  contentDigest: string;
  /** What CRIU's log says of a dump that it gave up; of an image nothing is known. */
  dumpError: string | undefined;
}

/** Where a copy may come from: the node's own archive, another node's copy, the image in the registry. */
export type Place = "archive" | "peer" | "image";

/**
 * Makes a copy of a Checkpoint, from the first source that is of use.
 *
 * Guarantees: the archive is of the Checkpoint's container, by what it says of itself, and has the digest that is
 * recorded, if one is.
 * Errors: KcrError for what is wrong with archive, disk or registry; the signal's reason; others as they are.
 */
export async function obtain(
  context: Context,
  checkpoint: Checkpoint,
  from: readonly Place[],
  signal: AbortSignal,
): Promise<Obtained> {
  let last: unknown = new KcrError(
    "CopyMissing",
    `Checkpoint ${checkpoint.metadata.name} has no archive here`,
  );
  for (const source of from) {
    try {
      return await OBTAIN[source](context, checkpoint, signal);
    } catch (error) {
      signal.throwIfAborted();
      last = registryError(error) ?? peerError(error) ?? error;
      if (isDiskFault(last)) break;
    }
  }
  throw last;
}

async function fromArchive(context: Context, checkpoint: Checkpoint, signal: AbortSignal): Promise<Obtained> {
  const { archives, store } = context;
  const captured = await inspect(archives, checkpoint.spec.checkpointData);
  await using archive = await archiveFile(captured.path, copyOf(checkpoint));
  try {
    const accept = (identity: Identity) => assertOwn(archive.name, identity, checkpoint);
    const index = await store.add(archive, signal, accept, await baseOf(context, checkpoint));
    return obtained(index, captured.dumpError);
  } catch (error) {
    if (!(error instanceof SourceChangedError)) throw error;
    throw new KcrError("ArchiveInvalid", error.message, { cause: error });
  }
}

async function fromRegistry(
  context: Context,
  checkpoint: Checkpoint,
  signal: AbortSignal,
): Promise<Obtained> {
  const { settings, store } = context;
  await using archive = await archiveInRegistry(checkpoint, settings, signal);
  const accept = (identity: Identity) => assertOwn(archive.name, identity, checkpoint);
  return obtained(await store.add(archive, signal, accept, await baseOf(context, checkpoint)));
}

async function fromPeer(
  { transfer }: Context,
  checkpoint: Checkpoint,
  signal: AbortSignal,
): Promise<Obtained> {
  if (transfer === undefined) {
    throw new KcrError("CopyMissing", `Checkpoint ${checkpoint.metadata.name} has no copy on this node`);
  }
  const index = await transfer.fetch(checkpoint, signal, (name, identity) =>
    assertOwn(name, identity, checkpoint),
  );
  return obtained(index);
}

const OBTAIN: Record<
  Place,
  (context: Context, checkpoint: Checkpoint, signal: AbortSignal) => Promise<Obtained>
> = { archive: fromArchive, peer: fromPeer, image: fromRegistry };

const obtained = (index: CopyIndex, dumpError?: string): Obtained => ({
  copy: index.archive,
  contentDigest: contentDigest(index),
  dumpError,
});

/** The newest other copy of the same container that is here: most of its pages are likely to be those of the new one. */
async function baseOf(
  { settings, caches, store }: Context,
  checkpoint: Checkpoint,
): Promise<string | undefined> {
  if (!settings.local.sharePages) return undefined;
  const { metadata, spec, status } = checkpoint;
  const others = caches.checkpoints
    .byIndex(BY_POD_UID, status?.lineage?.podUID ?? "")
    .filter((other) => other.metadata.uid !== metadata.uid && other.spec.containerName === spec.containerName)
    .sort((a, b) => Date.parse(b.spec.checkpointTimestamp) - Date.parse(a.spec.checkpointTimestamp));
  for (const other of others) {
    const copy = copyOf(other);
    if (copy !== undefined && (await store.has(copy))) return copy;
  }
  return undefined;
}

function assertOwn(name: string, identity: Identity, checkpoint: Checkpoint): void {
  if (!isIdentityOf(identity, ownerOf(checkpoint))) {
    throw new KcrError("ArchiveInvalid", `${name} is of another container`);
  }
}

/**
 * Makes sure that this node has a copy of a Checkpoint, of whatever node, and that it stays until a plan names it.
 *
 * Errors: KcrError where that cannot be; `RegistryError` while the registry does not answer; the signal's reason.
 */
export async function ensureCopy(
  context: Context,
  checkpoint: Checkpoint,
  signal: AbortSignal,
): Promise<void> {
  const { node, settings, archives, store, pins, locks } = context;
  const { spec, metadata } = checkpoint;
  using _lock = await locks.take(metadata.uid ?? "");
  const copy = copyOf(checkpoint);
  if (copy !== undefined) pins.hold(copy);
  if (copy !== undefined && (await store.has(copy))) return;
  const isHere = spec.nodeName === node && (await archives.find(spec.checkpointData)) !== undefined;
  const from: Place[] = isHere ? ["archive"] : [];
  if (context.transfer !== undefined && nodesWith(checkpoint, node).length > 0) from.push("peer");
  if (hasImage(checkpoint, settings)) from.push("image");
  try {
    const obtained = await obtain(context, checkpoint, from, signal);
    pins.hold(obtained.copy);
  } catch (error) {
    const { cause } = error as Error;
    throw hasCode(cause, "unreachable") ? cause : error;
  }
}
