import type { Reading } from "./counters.ts";

/** A reading and when its answer was there, in milliseconds since 1970. */
export interface Seen extends Reading {
  at: number;
}

/** A Checkpoint of some run, as the ledger needs it. */
export interface Taken {
  name: string;
  /** The container that it was taken of. */
  containerID: string;
  /** When it was begun: what had been counted before is in it. */
  at: number;
  /** Whether a crash now would have to be restored from it, or from a newer one. */
  counts: boolean;
}

/** The least that a counter must say after a crash, and the Checkpoint that says so. */
export interface Bound extends Reading {
  checkpoint: string;
}

interface Run {
  containerID: string;
  /** What the state of this run's first moment is bound to have: that of a fresh start to nothing. */
  base: Bound | undefined;
  /** Oldest first. */
  seen: Seen[];
}

/** So much of a run is remembered: more than lies between a checkpoint's begin and its being good. */
const REMEMBERED_MS = 15 * 60_000;

/**
 * What one counter has said, and what it owes.
 *
 * The count in a Checkpoint is not known. But what was answered before it was begun is in it; so that is the least
 * that a run restored from it says, in the same life. By a container's lineage a crash goes back to the newest good
 * Checkpoint of the run that ended, or, if there is none of it, to what that run had been restored from: which again
 * has at least what was owed then.
 */
export class Ledger {
  #run: Run;

  constructor(containerID: string) {
    this.#run = { containerID, base: undefined, seen: [] };
  }

  get containerID(): string {
    return this.#run.containerID;
  }

  /** Name of the Checkpoint that the run's first moment owes to. */
  get baseName(): string | undefined {
    return this.#run.base?.checkpoint;
  }

  get last(): Seen | undefined {
    return this.#run.seen.at(-1);
  }

  /** Notes what it said. Returns whether that can be of the same run: the same life, and no step back. */
  saw(reading: Reading, at: number): boolean {
    const { last } = this;
    if (last !== undefined && (last.life !== reading.life || last.count > reading.count)) return false;
    const { seen } = this.#run;
    seen.push({ ...reading, at });
    if (seen.length % 100 === 0) this.#run.seen = seen.filter((one) => one.at > at - REMEMBERED_MS);
    return true;
  }

  /** What a crash at this moment must be followed by; undefined: a fresh start will do. */
  owed(all: readonly Taken[]): Bound | undefined {
    const { containerID, base } = this.#run;
    const newest = all
      .filter((taken) => taken.containerID === containerID && taken.counts)
      .reduce<Taken | undefined>(
        (best, one) => (best === undefined || one.at > best.at ? one : best),
        undefined,
      );
    return newest === undefined ? base : this.#boundOf(newest);
  }

  /** A run began, of which its first words are known. It owes its first moment to what was owed, if it was restored. */
  begin(containerID: string, first: Seen, owed: Bound | undefined): void {
    this.#run = { containerID, base: owed, seen: [first] };
  }

  /** What is in a Checkpoint of this run for sure. */
  #boundOf({ name, at }: Taken): Bound | undefined {
    const { base, seen } = this.#run;
    const before = seen.findLast((one) => one.at <= at);
    if (before !== undefined) return { life: before.life, count: before.count, checkpoint: name };
    // Begun before this run was first asked: in it is at least what it began with.
    return base && { ...base, checkpoint: name };
  }
}

/** Whether what is said is no less than what is owed. */
export const pays = (reading: Reading, owed: Bound | undefined): boolean =>
  owed === undefined || (reading.life === owed.life && reading.count >= owed.count);
