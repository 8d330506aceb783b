import { join } from "node:path";
import { KcrError } from "../../api/errors.ts";
import { readIfThere } from "../../store/files.ts";
import type { ContainerKey, Layout } from "../../store/layout.ts";
import type { Candidate } from "../../store/plan.ts";
import { laterProtocolIn, ofLaterProtocol } from "../../store/protocol.ts";
import { LAST, parseLast, parseState, STATE, STATE_VERSION, stateOfRun } from "../../store/runs.ts";

/** What the handler knows of a container: its newest run, and where that came from. */
export interface KnownRun {
  /** The runtime's ID of the run. */
  id: string;
  /** What it was restored from; absent for a run that began afresh. */
  restoredFrom?: Candidate;
  /** UIDs of Checkpoints that are not tried again by themselves. */
  passedOver: readonly string[];
}

/**
 * Reads what the handler has left; undefined for a container that never ran through it. Of what a handler of a later
 * version has left, KcrError ProtocolUnknown: nobody here knows where the run came from.
 */
export async function readRun(layout: Layout, key: ContainerKey): Promise<KnownRun | KcrError | undefined> {
  const directory = layout.run(key);
  const [lastText, stateText] = await Promise.all([
    readIfThere(join(directory, LAST)),
    readIfThere(join(directory, STATE)),
  ]);
  const last = lastText === undefined ? undefined : parseLast(lastText);
  if (last === undefined) return undefined;
  const later = laterProtocolIn(stateText, STATE_VERSION);
  if (later !== undefined) {
    const what = `what the handler remembers of container ${key.container}`;
    return new KcrError("ProtocolUnknown", ofLaterProtocol(what, later, STATE_VERSION));
  }
  const state = stateText === undefined ? undefined : parseState(stateText);
  const { restoredFrom, passedOver = [] } = stateOfRun(state, last.id) ?? {};
  return { id: last.id, restoredFrom, passedOver };
}
