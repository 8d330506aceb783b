import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { isContainerName, isPodUID, type Layout } from "../../store/layout.ts";
import { PLAN_VERSION, parsePlan } from "../../store/plan.ts";
import { laterProtocolIn } from "../../store/protocol.ts";
import { parseState, STATE, STATE_VERSION } from "../../store/runs.ts";
import { missing } from "./disk.ts";

/** How long a copy that was fetched waits for a plan to name it, in milliseconds. */
const HOLD_MS = 600_000;

/** The copies that must stay where they are: what a plan names, what a container runs from, what was just fetched. */
export class Pins {
  readonly #layout: Layout;
  readonly #now: () => Date;
  readonly #held = new Map<string, number>();

  constructor(layout: Layout, now: () => Date) {
    this.#layout = layout;
    this.#now = now;
  }

  /** Keeps a copy until a plan can be expected to name it. */
  hold(copy: string): void {
    this.#held.set(copy, this.#now().getTime() + HOLD_MS);
  }

  /** Names of the copies that a plan names. */
  async planned(): Promise<Set<string>> {
    const planned = new Set<string>();
    const { plans } = this.#layout;
    for (const podUID of (await namesIn(plans)).filter(isPodUID)) {
      for (const file of await namesIn(join(plans, podUID))) {
        const text = await textOf(join(plans, podUID, file));
        const plan = parsePlan(text);
        for (const copy of namedLater(text, PLAN_VERSION)) planned.add(copy);
        for (const { copy } of plan?.candidates ?? []) planned.add(copy);
        if (plan?.armed) planned.add(plan.armed.candidate.copy);
      }
    }
    return planned;
  }

  /** Names of all of them. */
  async read(): Promise<Set<string>> {
    const pins = new Set<string>();
    for (const [copy, until] of this.#held) {
      if (until > this.#now().getTime()) pins.add(copy);
      else this.#held.delete(copy);
    }
    const { runs } = this.#layout;
    for (const copy of await this.planned()) pins.add(copy);
    for (const podUID of (await namesIn(runs)).filter(isPodUID)) {
      for (const container of (await namesIn(join(runs, podUID))).filter(isContainerName)) {
        const text = await textOf(join(this.#layout.run({ podUID, container }), STATE));
        const state = parseState(text);
        for (const copy of namedLater(text, STATE_VERSION)) pins.add(copy);
        for (const one of [state, state?.before]) if (one?.restoredFrom) pins.add(one.restoredFrom.copy);
      }
    }
    return pins;
  }
}

/** Whatever a text of a later protocol says: every name of a copy that is in it. */
const namedLater = (text: string, newest: number): readonly string[] =>
  laterProtocolIn(text, newest) === undefined ? [] : (text.match(/\b[0-9a-f]{64}\b/g) ?? []);

const namesIn = async (path: string): Promise<string[]> => (await readdir(path).catch(missing)) ?? [];
const textOf = async (path: string): Promise<string> => (await readFile(path, "utf8").catch(missing)) ?? "";
