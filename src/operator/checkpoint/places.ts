import type { Checkpoint, CheckpointStatus } from "../../api/checkpoint.ts";

type Place = NonNullable<CheckpointStatus["copies"]>[number];

/** As many as a status has room for, with the Checkpoint's own. */
const TOLD = 60;

/**
 * What stands in a Checkpoint's status about where its copies are, with those that other nodes say they have; undefined
 * when it stands there already. What its own node and the registry have is its agent's to say.
 */
export function placesOf(
  { spec, status, metadata }: Checkpoint,
  nodes: readonly string[],
  now: Date,
): Place[] | undefined {
  const isOver = status?.phase === undefined || metadata.deletionTimestamp !== undefined;
  if (isOver) return undefined;
  // Sorted, so that of more than that it is the same ones every time, in whatever order they are known.
  const others = new Set(
    nodes
      .filter((node) => node !== spec.nodeName)
      .sort()
      .slice(0, TOLD),
  );
  const old = status.copies ?? [];
  const kept = old.filter(
    ({ kind, node = "" }) => kind !== "Node" || node === spec.nodeName || others.has(node),
  );
  const known = new Set(kept.flatMap(({ kind, node }) => (kind === "Node" && node) || []));
  const added = [...others]
    .filter((node) => !known.has(node))
    .map((node): Place => ({ kind: "Node", node, verifiedTime: now.toISOString() }));
  return kept.length === old.length && added.length === 0 ? undefined : [...kept, ...added];
}
