import type { Failure } from "../store/notes.ts";
import type { Candidate, Plan } from "../store/plan.ts";
import type { LastRun, RunState } from "../store/runs.ts";
import { STATE_VERSION, stateOfRun } from "../store/runs.ts";

/** How a run ended, as the container runtime wrote it down. */
export interface End {
  exitCode: number;
  /** 0 when it ended before it was started: so does what ends between its restore and the call of `start`. */
  startedMs: number;
  finishedMs: number;
}

export interface CreateInput {
  plan: Plan;
  /** The run before; undefined when nothing is known of one. */
  last?: LastRun;
  /** Its end; undefined when that is not known. */
  end?: End;
  /** ID of the run that was last ended through the handler. */
  killed?: string;
  state?: RunState;
  /** Of the container that is created. */
  sandbox: string;
  nowMs: number;
}

/** What tells why the run before ended. */
export type Ending = Pick<CreateInput, "last" | "sandbox" | "killed" | "end">;

export type CreateDecision =
  | {
      type: "fresh";
      cause: string;
      reason: string;
      message: string;
      lost: boolean;
      /** It was asked for, and is given up. */
      armed?: string;
      failed: Failure[];
    }
  | {
      type: "restore";
      cause: string;
      /** In the order in which they are tried. */
      candidates: Candidate[];
      /** The first of them was asked for. */
      armed?: string;
      /** Poisoned just now. */
      failed: Failure[];
      /** What is remembered, less the restore that follows. */
      state: RunState;
      /** What was remembered, and counts again if nothing comes of it. */
      before: RunState;
    };

const MAX_CHAIN = 64;
/** A probe needs its time to see that a program hangs, and the program to be ended: that is no running well. */
const KILLED_FACTOR = 10;

/**
 * What becomes of one `create` that has a plan. Pure: everything it goes by is in the input.
 *
 * Guarantees: what was armed is used once; a plan counts for the run it was made for and for runs restored from
 * it, never for one that began afresh since; a run that ended with exit code 0 by itself begins afresh; where the
 * end is not known the state is kept; nobody is thrown forward to a checkpoint newer than the one that the last
 * run was restored from, unless it was made of that run.
 */
export function decideCreate(input: CreateInput): CreateDecision {
  const { plan, last, nowMs } = input;
  const cause = causeOf(input);
  const state = stateOf(input);
  const before = stateOf(input);
  const failed: Failure[] = [];
  const { cutOff = 0 } = state;
  const armed = plan.armed !== undefined && !state.used.includes(plan.armed.id) ? plan.armed : undefined;
  const isNew = armed !== undefined && input.state?.used.includes(armed.id) !== true;
  // Whatever it is that does not let a restore end: the container has to begin some time.
  if (cutOff >= plan.maxAttempts && !isNew) {
    const message = `the restore was cut off ${cutOff} times in a row`;
    const given = { cause: cause.words, reason: "RestoreFailed", message, lost: true, failed };
    return { type: "fresh", ...given, ...(armed && { armed: armed.id }) };
  }
  if (armed !== undefined) {
    const others = isCurrent(plan, last, state)
      ? inOrder(plan, last, state).filter(({ uid }) => uid !== armed.candidate.uid)
      : [];
    return {
      type: "restore",
      cause: "asked for",
      candidates: [armed.candidate, ...others],
      armed: armed.id,
      failed,
      state: { ...state, used: [...state.used, armed.id].slice(-16) },
      before,
    };
  }
  const fresh = (reason: string, message: string, lost = false): CreateDecision => ({
    type: "fresh",
    cause: cause.words,
    reason,
    message,
    lost,
    failed,
  });
  if (!plan.onFailure) return fresh("NotWanted", "no restore is wanted for this container");
  if (!isCurrent(plan, last, state)) return fresh("NoCheckpoint", "no checkpoint of the last run is there");
  if (cause.type === "clean") return fresh("CleanExit", "the program ended by itself with exit code 0");

  const parent = parentOf(last, state);
  const crashes = { ...state.crashes };
  if (parent !== undefined && cause.type !== "sandbox") {
    // A run that ended before the container runtime had started it has no start of its own.
    const startedMs = input.end?.startedMs || last!.createdMs;
    const ran = (input.end?.finishedMs ?? nowMs) - startedMs;
    const stableMs = plan.stableSeconds * 1000 * (cause.type === "killed" ? KILLED_FACTOR : 1);
    if (ran < stableMs) crashes[parent.uid] = (crashes[parent.uid] ?? 0) + 1;
    else delete crashes[parent.uid];
  }
  const { passedOver } = state;
  if (parent !== undefined && (crashes[parent.uid] ?? 0) >= plan.maxAttempts) {
    passedOver.push(parent.uid);
    failed.push({
      checkpoint: parent.checkpoint,
      checkpointUID: parent.uid,
      code: "CheckpointPoisoned",
      message: `its process ended again soon after it was restored, ${crashes[parent.uid]} times in a row`,
      poisoned: true,
      corrupt: false,
    });
    delete crashes[parent.uid];
  }
  const candidates = inOrder(plan, last, state).filter(({ uid }) => !passedOver.includes(uid));
  if (candidates.length === 0) {
    const [poisoned] = failed;
    return poisoned === undefined
      ? fresh("NoCheckpoint", "no checkpoint of this container is ready on the node", parent !== undefined)
      : fresh(poisoned.code, `no checkpoint is left: ${poisoned.message}`, true);
  }
  return {
    type: "restore",
    cause: cause.words,
    candidates,
    failed,
    state: { ...state, crashes, passedOver },
    before,
  };
}

type Cause = { type: "unknown" | "sandbox" | "killed" | "clean" | "failed"; words: string };

/** Whether a `create` about which nothing can be decided loses a state: that of a run that did not end by itself. */
export function lostWithout(input: Ending): { cause: string; lost: boolean } {
  const { type, words } = causeOf(input);
  return { cause: words, lost: input.last !== undefined && type !== "clean" };
}

/** Why the run before ended. */
function causeOf({ last, sandbox, killed, end }: Ending): Cause {
  if (last === undefined) return { type: "unknown", words: "the last run's end is not known" };
  if (last.sandbox !== sandbox) return { type: "sandbox", words: "the pod's sandbox was lost" };
  if (killed === last.id) return { type: "killed", words: "ended by the kubelet" };
  if (end === undefined) return { type: "unknown", words: "the last run's end is not known" };
  if (end.exitCode === 0) return { type: "clean", words: "exit code 0" };
  return { type: "failed", words: `exit code ${end.exitCode}` };
}

const EMPTY: RunState = { version: STATE_VERSION, chain: [], crashes: {}, passedOver: [], used: [] };

/** What is remembered and still counts: of a chain that a fresh start has ended only what was used up. */
function stateOf({ state, last, plan }: CreateInput): RunState {
  const known = stateOfRun(state, last?.id);
  if (known === undefined) {
    const chain = last !== undefined && plan.run === last.id ? [last.id] : [];
    return { ...EMPTY, crashes: {}, passedOver: [], used: state?.used ?? [], chain };
  }
  const { before: _, cutOff: times = 0, ...own } = known;
  const cutOff = known === state ? 0 : times + 1;
  return { ...own, passedOver: [...own.passedOver], ...(cutOff > 0 && { cutOff }) };
}

/** Whether the plan is about the run that ended, or about one that it came from. */
function isCurrent(plan: Plan, last: LastRun | undefined, state: RunState): boolean {
  if (last === undefined || plan.run === last.id) return true;
  return state.chain.at(-1) === last.id && state.chain.includes(plan.run);
}

const parentOf = (last: LastRun | undefined, state: RunState): Candidate | undefined =>
  last !== undefined && state.chain.at(-1) === last.id ? state.restoredFrom : undefined;

/** The plan's candidates; those of an older plan only from the one on that the last run was restored from. */
function inOrder(plan: Plan, last: LastRun | undefined, state: RunState): Candidate[] {
  const parent = parentOf(last, state);
  if (parent === undefined || plan.run === last?.id) return plan.candidates;
  const at = plan.candidates.findIndex(({ uid }) => uid === parent.uid);
  if (at >= 0) return plan.candidates.slice(at);
  const taken = Date.parse(parent.takenTime);
  return [parent, ...plan.candidates.filter(({ takenTime }) => Date.parse(takenTime) < taken)];
}

/** What is remembered once `candidate` has become the run `id`, and `before` that if it does not. */
export function afterRestore(
  { cutOff: _, ...state }: RunState,
  {
    id,
    last,
    candidate,
    before,
  }: { id: string; last: LastRun | undefined; candidate: Candidate; before: RunState },
): RunState {
  const chain = state.chain.length > 0 || last === undefined ? state.chain : [last.id];
  return {
    ...state,
    chain: [...chain, id].slice(-MAX_CHAIN),
    restoredFrom: candidate,
    before: { ...before, chain },
  };
}
