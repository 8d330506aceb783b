import { join } from "node:path";
import { readIfThere } from "../../store/files.ts";
import type { ContainerKey, Layout } from "../../store/layout.ts";
import type { Candidate } from "../../store/plan.ts";
import { LAST, parseLast, parseState, STATE, stateOfRun } from "../../store/runs.ts";

/** What the handler knows of a container: its newest run, and where that came from. */
export interface KnownRun {
  /** The runtime's ID of the run. */
  id: string;
  /** What it was restored from; absent for a run that began afresh. */
  restoredFrom?: Candidate;
  /** UIDs of Checkpoints that are not tried again by themselves. */
  passedOver: readonly string[];
}

/** Reads what the handler has left; undefined for a container that never ran through it. */
export async function readRun(layout: Layout, key: ContainerKey): Promise<KnownRun | undefined> {
  const directory = layout.run(key);
  const [lastText, stateText] = await Promise.all([
    readIfThere(join(directory, LAST)),
    readIfThere(join(directory, STATE)),
  ]);
  const last = lastText === undefined ? undefined : parseLast(lastText);
  if (last === undefined) return undefined;
  const state = stateText === undefined ? undefined : parseState(stateText);
  const { restoredFrom, passedOver = [] } = stateOfRun(state, last.id) ?? {};
  return { id: last.id, restoredFrom, passedOver };
}
