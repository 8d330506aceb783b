import type { Checkpoint, Origin } from "./checkpoint.ts";

/** One run of a container: which one, and where its state came from. */
export interface Run {
  podUID: string;
  container: string;
  containerID: string;
  parent?: string;
  /** Where the parent came from, should it be gone. */
  parentOrigin?: Origin;
}

const takenAt = (c: Checkpoint): number => Date.parse(c.spec.checkpointTimestamp);
const newestFirst = (a: Checkpoint, b: Checkpoint): number =>
  takenAt(b) - takenAt(a) || (a.metadata.name < b.metadata.name ? 1 : -1);

/** The Checkpoints of a namespace as {@link lineageOf} looks them up: whoever asks for many runs makes it once. */
export interface LineageIndex {
  byName: ReadonlyMap<string, Checkpoint>;
  /** By the runtime's ID of the container that each was taken of. */
  byRun: ReadonlyMap<string, readonly Checkpoint[]>;
}

export const indexLineages = (all: readonly Checkpoint[]): LineageIndex => ({
  byName: new Map(all.map((c) => [c.metadata.name, c])),
  byRun: Map.groupBy(all, (c) => c.status?.lineage?.containerID ?? ""),
});

/**
 * The Checkpoints that `run` may be restored from, in the order in which an automatic restore tries them:
 * those made of the run itself, newest first; the one it was restored from; that one's ancestors. Ancestors
 * of a Checkpoint are the older ones of its own run, newest first, then what that run had been restored from,
 * and so on. `all` is of one namespace; a parent may be of another pod, where a person restored it into this one.
 *
 * Guarantees: a Checkpoint of another tree (a fresh start in between) is never among them, nor one newer than
 * a Checkpoint that a person went back to. A parent that was deleted does not cut off its ancestors. Cycles in
 * hostile records end the walk.
 * Caveats: good, poisoned and fitting are the caller's to judge.
 */
export function lineageOf(run: Run, all: readonly Checkpoint[] | LineageIndex): Checkpoint[] {
  const { byName, byRun } = "byName" in all ? all : indexLineages(all);
  const ofRun = (containerID = ""): Checkpoint[] =>
    containerID === "" ? [] : [...(byRun.get(containerID) ?? [])].sort(newestFirst);
  const isLike = (a: Checkpoint, podUID: string | undefined, container: string): boolean =>
    a.status?.lineage?.podUID === podUID && a.spec.containerName === container;

  const order = new Set(ofRun(run.containerID).filter((c) => isLike(c, run.podUID, run.container)));
  let { parent: name, parentOrigin: origin } = run;
  const walked = new Set<string>();
  while (name !== undefined && !walked.has(name)) {
    walked.add(name);
    const parent = byName.get(name);
    const from = parent?.status?.lineage;
    const older =
      parent === undefined
        ? ofRun(origin?.containerID).filter((c) => takenAt(c) < Date.parse(origin?.takenTime ?? ""))
        : ofRun(from?.containerID).filter(
            (c) => isLike(c, from?.podUID, parent.spec.containerName) && newestFirst(c, parent) > 0,
          );
    if (parent !== undefined) order.add(parent);
    for (const c of older) order.add(c);
    // What the parent's run had been restored from; any Checkpoint of that run says the same.
    const next = (parent ?? older[0])?.status?.lineage;
    ({ parent: name, parentOrigin: origin } = next ?? {});
  }
  return [...order];
}

/** Where a Checkpoint came from, as records keep it. */
export function originOf(checkpoint: Checkpoint | undefined): Origin | undefined {
  const containerID = checkpoint?.status?.lineage?.containerID;
  if (checkpoint === undefined || containerID === undefined) return undefined;
  return { containerID, takenTime: checkpoint.spec.checkpointTimestamp };
}
