import { type Checkpoint, LOCAL_COPY, RESTORABLE, RUNTIME_HANDLER } from "../../api/checkpoint.ts";
import { findCondition, isTrue } from "../../api/conditions.ts";
import { isPoisoned } from "../../api/kinds.ts";
import type { Settings } from "../../api/settings.ts";
import { isOnNode } from "./status.ts";

/** Whether the Checkpoint is of those that have a copy on their node: while they are among the newest. */
export const mayHaveCopy = ({ status }: Checkpoint, store: Settings["store"]): boolean =>
  store === "node" || status?.handler === RUNTIME_HANDLER;

/**
 * Which Checkpoints of one node have a copy there, by UID: of each container the newest so many, those that crash
 * again and again after the others. Where all of these are more than `maxBytes`, every container's newest come
 * first, and of those the newest.
 */
export function wantedCopies(
  all: readonly Checkpoint[],
  { store, local: { perContainer, maxBytes = Number.POSITIVE_INFINITY } }: Pick<Settings, "store" | "local">,
): Set<string> {
  const ofContainer = Map.groupBy(
    all.filter((checkpoint) => mayHaveCopy(checkpoint, store) && isOfUse(checkpoint)),
    ({ spec, status }) => `${status?.lineage?.podUID}/${spec.containerName}`,
  );
  const ranked = [...ofContainer.values()]
    .flatMap((own) =>
      own
        .sort(soundNewestFirst)
        .slice(0, perContainer)
        .map((checkpoint, rank) => ({ checkpoint, rank })),
    )
    .sort((a, b) => a.rank - b.rank || newestFirst(a.checkpoint, b.checkpoint));
  const wanted = new Set<string>();
  let bytes = 0;
  for (const { checkpoint } of ranked) {
    bytes += checkpoint.status?.sizeBytes ?? 0;
    if (bytes > maxBytes) break;
    wanted.add(checkpoint.metadata.uid ?? "");
  }
  return wanted;
}

/** Not one that is going, or that nothing can be restored from. */
const isOfUse = ({ metadata, status }: Checkpoint): boolean =>
  metadata.deletionTimestamp === undefined &&
  status?.phase !== undefined &&
  findCondition(status.conditions, RESTORABLE)?.reason !== "CheckpointFailed" &&
  (status.phase !== "Failed" || isTrue(status.conditions, LOCAL_COPY));

const newestFirst = (a: Checkpoint, b: Checkpoint): number =>
  Date.parse(b.spec.checkpointTimestamp) - Date.parse(a.spec.checkpointTimestamp) ||
  (a.metadata.name < b.metadata.name ? 1 : -1);
const soundNewestFirst = (a: Checkpoint, b: Checkpoint): number =>
  Number(isPoisoned(a)) - Number(isPoisoned(b)) || newestFirst(a, b);

/** What there is of a Checkpoint on its node. */
export interface Holdings {
  /** Its copy, as far as its digest is known. */
  copy: "none" | "whole" | "corrupt";
  hasArchive: boolean;
  /** Whether an image can be fetched. */
  hasImage: boolean;
  /** Whether it is among those of {@link wantedCopies}. */
  isWanted: boolean;
  /** Whether a plan names a copy that is there, or a container runs from it: it stays, wanted or not. */
  isPinned: boolean;
}

export type CopyDecision =
  | { type: "nothing" }
  /** Make a copy, from the first of these that is of use. */
  | { type: "make"; from: ("archive" | "image")[] }
  /** There is a verified copy that its status does not tell of. */
  | { type: "record" }
  /** The copy is there and told of, and nothing else is to be made of the archive. */
  | { type: "release-archive" }
  /** It makes room for newer ones. */
  | { type: "drop" }
  /** There is nothing left to make a copy of. */
  | { type: "lost" };

/** What becomes of one Checkpoint's copy on the node that it was taken on. */
export function decideCopy(
  checkpoint: Checkpoint,
  holdings: Holdings,
  { node, store }: { node: string; store: Settings["store"] },
): CopyDecision {
  const { metadata, spec, status } = checkpoint;
  const { copy, hasArchive, hasImage, isWanted, isPinned } = holdings;
  const isOver = status?.phase === undefined || metadata.deletionTimestamp !== undefined;
  if (spec.nodeName !== node || isOver || !mayHaveCopy(checkpoint, store)) return { type: "nothing" };

  const told = findCondition(status.conditions, LOCAL_COPY);
  // It was no good before a copy could be made.
  if (status.phase === "Failed" && told === undefined) return { type: "nothing" };
  const isTold = isOnNode(status, node) && told?.status === "True" && status.contentDigest !== undefined;
  if (!isWanted && !isPinned) {
    const isDropped = copy === "none" && told?.status === "False" && !isOnNode(status, node);
    const isReleased = store !== "node" || !hasArchive || status.phase === "Failed";
    return isDropped && isReleased ? { type: "nothing" } : { type: "drop" };
  }
  if (copy === "whole") {
    if (!isTold) return { type: "record" };
    return store === "node" && hasArchive ? { type: "release-archive" } : { type: "nothing" };
  }
  const isBad =
    told?.status === "False" && (told.reason === "ArchiveInvalid" || told.reason === "ArchiveMissing");
  const from: ("archive" | "image")[] = [];
  if (hasArchive && !isBad) from.push("archive");
  if (hasImage) from.push("image");
  if (from.length > 0) return { type: "make", from };
  const isTellingSo = told?.status === "False" && !isOnNode(status, node);
  return isTellingSo && copy === "none" ? { type: "nothing" } : { type: "lost" };
}
