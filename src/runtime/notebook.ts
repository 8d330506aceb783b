import { mkdirSync, readdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { CORRUPT_MARK } from "../store/copy.ts";
import type { ContainerKey, Layout } from "../store/layout.ts";
import type { Note, Undumped } from "../store/notes.ts";
import { type LaterPlan, PLAN_VERSION, type Plan, parseLaterPlan, parsePlan } from "../store/plan.ts";
import { laterProtocolIn, ofLaterProtocol } from "../store/protocol.ts";
import {
  formatLast,
  KILLED,
  LAST,
  type LastRun,
  parseLast,
  parseState,
  type RunState,
  STATE,
  STATE_VERSION,
} from "../store/runs.ts";

/** Notes that nobody collects do not pile up. */
const MAX_NOTES = 32;

/** What the handler reads and writes about one container, in kcr's directory. */
export class Notebook {
  readonly #layout: Layout;
  readonly #key: ContainerKey;

  constructor(layout: Layout, key: ContainerKey) {
    this.#layout = layout;
    this.#key = key;
  }

  get planPath(): string {
    return this.#layout.plan(this.#key);
  }

  /** The plan, if there is one of this container that can be read. */
  plan(): Plan | undefined {
    const plan = parse(this.planPath, parsePlan);
    const { podUID, container } = this.#key;
    return plan?.podUID === podUID && plan.container === container ? plan : undefined;
  }

  /**
   * Why it cannot be acted on what an agent or a handler of a later version has left for this container, and what its
   * plan wants then; undefined where all is known, and where no restore is wanted.
   */
  unknown(): { why: string; fallback: Plan["fallback"] } | undefined {
    const later: LaterPlan | undefined = parse(this.planPath, parseLaterPlan);
    if (later !== undefined) {
      return { why: ofLaterProtocol("the plan", later.version, PLAN_VERSION), fallback: later.fallback };
    }
    const plan = this.plan();
    const state = parse(this.#path(STATE), (text) => laterProtocolIn(text, STATE_VERSION));
    if (plan === undefined || state === undefined || !(plan.onFailure || plan.armed)) return undefined;
    const what = "what is remembered of the last run";
    return { why: ofLaterProtocol(what, state, STATE_VERSION), fallback: plan.fallback };
  }

  last(): LastRun | undefined {
    return parse(this.#path(LAST), parseLast);
  }

  killed(): string | undefined {
    return parse(this.#path(KILLED), (text) => text.trim());
  }

  state(): RunState | undefined {
    return parse(this.#path(STATE), parseState);
  }

  writeLast(last: LastRun): void {
    replace(this.#path(LAST), formatLast(last));
  }

  writeState(state: RunState): void {
    replace(this.#path(STATE), JSON.stringify(state));
  }

  /** A run that was to be restored was not: what was known before counts, less what was used up. */
  forget(id: string): void {
    const state = this.state();
    if (state?.chain.at(-1) !== id) return;
    const { before, restoredFrom: _, ...rest } = state;
    this.writeState(before === undefined ? { ...rest, chain: [] } : { ...before, used: state.used });
  }

  /** Leaves a note for the agent. */
  note(note: Note): void {
    const directory = this.#layout.notes(this.#key);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const names = readdirSync(directory).sort();
    for (const name of names.slice(0, Math.max(0, names.length - MAX_NOTES + 1)))
      unlinkSync(join(directory, name));
    replace(join(directory, `${Date.parse(note.time)}-${note.containerID}.json`), JSON.stringify(note));
  }

  /** Leaves word why the container was not checkpointed. */
  noteUndumped(undumped: Undumped): void {
    replace(this.#layout.undumped(this.#key), JSON.stringify(undumped));
  }

  /** Says of a copy that it is damaged: it is not used any more, and made anew. */
  markCorrupt(copy: string, why: string): void {
    replace(join(this.#layout.copy(copy), CORRUPT_MARK), why);
  }

  #path(name: string): string {
    return join(this.#layout.run(this.#key), name);
  }
}

function parse<T>(path: string, parser: (text: string) => T | undefined): T | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
  return parser(text);
}

/** Writes a file so that it is there whole or as it was. */
function replace(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const half = `${path}.${process.pid}`;
  writeFileSync(half, text, { mode: 0o600, flush: true });
  renameSync(half, path);
}
