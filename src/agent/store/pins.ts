import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { isContainerName, isPodUID, type Layout } from "../../store/layout.ts";
import { parsePlan } from "../../store/plan.ts";
import { parseState, STATE } from "../../store/runs.ts";
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
        const plan = parsePlan(await textOf(join(plans, podUID, file)));
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
        const state = parseState(await textOf(join(this.#layout.run({ podUID, container }), STATE)));
        for (const one of [state, state?.before]) if (one?.restoredFrom) pins.add(one.restoredFrom.copy);
      }
    }
    return pins;
  }
}

const namesIn = async (path: string): Promise<string[]> => (await readdir(path).catch(missing)) ?? [];
const textOf = async (path: string): Promise<string> => (await readFile(path, "utf8").catch(missing)) ?? "";
