import { isContainerID } from "./layout.ts";
import type { Candidate } from "./plan.ts";
import { isKnown } from "./protocol.ts";

/**
 * In `runs/<pod UID>/<container>/`:
 *   last        the newest `create` of the container, whoever answered it (lines `id=`, `sandbox=`, `time=` in
 *               milliseconds since 1970); replaced by a rename
 *   killed      ID of the run that was last ended through the handler (`kill` without --all)
 *   state.json  what the handler knows of the newest run that it restored
 */
export const LAST = "last";
export const KILLED = "killed";
export const STATE = "state.json";

/** The newest run of a container. */
export interface LastRun {
  id: string;
  sandbox: string;
  createdMs: number;
}

export function parseLast(text: string): LastRun | undefined {
  const fields = Object.fromEntries(
    text.split("\n").flatMap((line) => {
      const at = line.indexOf("=");
      return at < 0 ? [] : [[line.slice(0, at), line.slice(at + 1)]];
    }),
  );
  const { id, sandbox, time } = fields;
  if (!isContainerID(id)) return undefined;
  return { id, sandbox: sandbox ?? "", createdMs: Number(time) || 0 };
}

export const formatLast = ({ id, sandbox, createdMs }: LastRun): string =>
  `id=${id}\nsandbox=${sandbox}\ntime=${Math.trunc(createdMs)}\n`;

/** The protocol that this code writes (protocol.ts). */
export const STATE_VERSION = 1;

/** Kept by the handler from one restore to the next. */
export interface RunState {
  version: number;
  /** Runs since the last fresh start, oldest first, at most 64: the first is `plan.run` of then. */
  chain: string[];
  /** Of the newest run of the chain, if it was restored: what from. */
  restoredFrom?: Candidate;
  /** Crashes in a row, soon after a restore, by Checkpoint. */
  crashes: Record<string, number>;
  /** Checkpoints that are not tried again by themselves: poisoned ones, and those that could not be restored. */
  passedOver: string[];
  /** IDs of what was armed and is used up, newest last, at most 16. */
  used: string[];
  /** How many restores in a row were cut off before this was remembered. */
  cutOff?: number;
  /** What was remembered before the newest run: it counts for as long as `last` does not know that run. */
  before?: RunState;
}

/**
 * What is remembered of the newest run. A restore is written down before it is begun: of one that was cut off, or
 * refused, only what was known before it counts. Undefined when nothing is about that run: it began afresh.
 */
export function stateOfRun(state: RunState | undefined, last: string | undefined): RunState | undefined {
  const { before } = state ?? {};
  if (last === undefined) return before?.chain.length === 0 ? before : state;
  return [state, before].find((one) => one?.chain.at(-1) === last);
}

export function parseState(text: string): RunState | undefined {
  try {
    return wholeState(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function wholeState(given: unknown): RunState | undefined {
  const value = given as Partial<RunState> | null;
  const isTexts = (list: unknown): boolean =>
    Array.isArray(list) && list.every((one) => typeof one === "string");
  const isWhole =
    typeof value === "object" &&
    value !== null &&
    isKnown(value, STATE_VERSION) &&
    isTexts(value.chain) &&
    isTexts(value.passedOver) &&
    isTexts(value.used) &&
    typeof value.crashes === "object" &&
    value.crashes !== null &&
    (value.before === undefined || wholeState(value.before) !== undefined);
  return isWhole ? (value as RunState) : undefined;
}
