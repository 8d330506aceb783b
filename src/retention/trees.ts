import type { Checkpoint } from "../api/checkpoint.ts";

/** Which Checkpoints are of one lineage: a tree of runs, from one fresh start on. */
export interface Trees {
  /** The tree of a run of a container, by the runtime's ID; the run itself where nothing is known of it. */
  of(containerID: string): string;
}

/**
 * The trees of Checkpoints, by what each records of the run that it was taken of and of where that run came from.
 * `links` joins runs of which something else tells that one came from the other.
 */
export function treesOf(
  all: readonly Checkpoint[],
  links: readonly (readonly [string, string])[] = [],
): Trees {
  const parents = new Map<string, string>();
  const find = (id: string): string => {
    let root = id;
    for (let next = parents.get(root); next !== undefined; next = parents.get(root)) {
      // Halves the way for the next who asks: a run may come from a thousand others.
      const beyond = parents.get(next);
      if (beyond !== undefined) parents.set(root, beyond);
      root = next;
    }
    return root;
  };
  const join = (a: string, b: string): void => {
    const [one, other] = [find(a), find(b)];
    if (one !== other) parents.set(one < other ? other : one, one < other ? one : other);
  };
  const byName = new Map(all.map((checkpoint) => [checkpoint.metadata.name, checkpoint]));
  for (const { status } of all) {
    const { containerID, parent, parentOrigin } = status?.lineage ?? {};
    if (!containerID) continue;
    const from = parentOrigin?.containerID ?? byName.get(parent ?? "")?.status?.lineage?.containerID;
    if (from) join(containerID, from);
  }
  for (const [a, b] of links) join(a, b);
  return { of: find };
}
