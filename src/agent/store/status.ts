import { type CheckpointStatus, LOCAL_COPY, RESTORABLE } from "../../api/checkpoint.ts";
import type { Condition } from "../../api/common.ts";
import { findCondition, setCondition } from "../../api/conditions.ts";
import type { ErrorCode, KcrError } from "../../api/errors.ts";
import type { Settings } from "../../api/settings.ts";

type Place = NonNullable<CheckpointStatus["copies"]>[number];
/** A condition as {@link setCondition} takes it. */
type Told = Omit<Condition, "lastTransitionTime">;

/** The places with one more, or with a newer word about one of them. */
export const withPlace = (places: readonly Place[] | undefined, place: Place): Place[] => [
  ...(places ?? []).filter(({ kind, node }) => kind !== place.kind || node !== place.node),
  place,
];

const withoutNode = (places: readonly Place[] | undefined, node: string): Place[] =>
  (places ?? []).filter((place) => place.kind !== "Node" || place.node !== node);

export const isOnNode = ({ copies }: CheckpointStatus, node: string): boolean =>
  copies?.some((place) => place.kind === "Node" && place.node === node) ?? false;

/**
 * Whether a Checkpoint of that node that lies in those places is good. Where nothing counts as a place yet: what is
 * said otherwise, or nothing. A dump that CRIU did not finish is no good wherever it lies. What other nodes have is
 * there for as long as they need it, and does not count.
 */
export function restorable(
  { conditions, copies = [] }: Pick<CheckpointStatus, "conditions" | "copies">,
  { node, store }: Pick<Where, "node" | "store">,
  otherwise?: { reason: ErrorCode; message: string },
): Told | undefined {
  const old = findCondition(conditions, RESTORABLE);
  if (old?.status === "False" && old.reason === UNFINISHED) return old;
  const image = copies.find(({ kind }) => kind === "Registry");
  if (image) {
    return { type: RESTORABLE, status: "True", reason: "ImageVerified", message: image.image ?? "" };
  }
  if (store !== "registry" && isOnNode({ copies }, node)) {
    return { type: RESTORABLE, status: "True", reason: "CopyVerified", message: `a copy on node ${node}` };
  }
  return otherwise && { type: RESTORABLE, status: "False", ...otherwise };
}

/** Of a dump that was given up and left an archive all the same. */
const UNFINISHED: ErrorCode = "CheckpointFailed";
export const unfinished = (error: string): Told => ({
  type: RESTORABLE,
  status: "False",
  reason: UNFINISHED,
  message: `CRIU reported: ${error}`,
});

/** What changes when the node has a verified copy; `dumpError` is what CRIU reported of a dump that it gave up. */
export function copied(
  status: CheckpointStatus,
  {
    node,
    copy,
    contentDigest,
    dumpError,
    store,
    now,
  }: Where & { copy: string; contentDigest?: string | undefined; dumpError?: string | undefined },
): CheckpointStatus {
  const copies = withPlace(status.copies, { kind: "Node", node, verifiedTime: now.toISOString() });
  const message = `node ${node} has a verified copy`;
  const local = setCondition(
    status.conditions,
    { type: LOCAL_COPY, status: "True", reason: "CopyVerified", message },
    now,
  );
  const good =
    dumpError === undefined
      ? restorable({ conditions: local, copies }, { node, store })
      : unfinished(dumpError);
  return {
    digest: `sha256:${copy}`,
    ...(contentDigest === undefined ? {} : { contentDigest }),
    copies,
    conditions: good === undefined ? local : setCondition(local, good, now),
  };
}

/** What changes when the node has no copy, or has it no more, and why. */
export function uncopied(
  status: CheckpointStatus,
  { node, error, store, now }: Where & { error: KcrError },
): CheckpointStatus {
  const { code: reason, advice: message } = error;
  const copies = withoutNode(status.copies, node);
  const local = setCondition(status.conditions, { type: LOCAL_COPY, status: "False", reason, message }, now);
  // Where an image counts too, whoever makes it says what becomes of the Checkpoint.
  const isOver = isOnNode(status, node) || (store === "node" && FINAL.has(reason));
  const otherwise = isOver && store !== "registry" ? { reason, message } : undefined;
  const good = restorable({ conditions: local, copies }, { node, store }, otherwise);
  return { copies, conditions: good === undefined ? local : setCondition(local, good, now) };
}

/** What another try does not change. */
const FINAL: ReadonlySet<string> = new Set<ErrorCode>([
  "ArchiveInvalid",
  "ArchiveMissing",
  "CopyCorrupt",
  "CopyDropped",
]);

interface Where {
  node: string;
  store: Settings["store"];
  now: Date;
}
