import type { Checkpoint } from "./checkpoint.ts";

/** One run of a container: which one, and where its state came from. */
export interface Run {
  podUID: string;
  container: string;
  restartCount: number;
  parent?: string;
}

const takenAt = (c: Checkpoint): number => Date.parse(c.spec.checkpointTimestamp);
const newestFirst = (a: Checkpoint, b: Checkpoint): number =>
  takenAt(b) - takenAt(a) || (a.metadata.name < b.metadata.name ? 1 : -1);

/**
 * The Checkpoints that `run` may be restored from, in the order in which an automatic restore tries them:
 * those made of the run itself, newest first; the one it was restored from; that one's ancestors. Ancestors
 * of a Checkpoint are the older ones of its own run, newest first, then what that run had been restored from,
 * and so on.
 *
 * Guarantees: a Checkpoint of another tree (a fresh start in between) is never among them, nor one newer than
 * a Checkpoint that a person went back to. Cycles in hostile records end the walk.
 * Caveats: good, poisoned and fitting are the caller's to judge.
 */
export function lineageOf(run: Run, all: readonly Checkpoint[]): Checkpoint[] {
  const mine = all.filter(
    (c) => c.status?.lineage?.podUID === run.podUID && c.spec.containerName === run.container,
  );
  const byName = new Map(mine.map((c) => [c.metadata.name, c]));
  const ofRun = (restartCount: number): Checkpoint[] =>
    mine.filter((c) => c.status?.lineage?.restartCount === restartCount).sort(newestFirst);

  const order = new Set<Checkpoint>(ofRun(run.restartCount));
  let name = run.parent;
  while (name !== undefined) {
    const parent = byName.get(name);
    if (parent === undefined || order.has(parent)) break;
    const origin = parent.status?.lineage;
    order.add(parent);
    for (const older of ofRun(origin?.restartCount ?? -1)) {
      if (newestFirst(older, parent) > 0) order.add(older);
    }
    name = origin?.parent;
  }
  return [...order];
}
