import { delay } from "../../src/kube/signals.ts";
import type { World } from "../support/world.ts";
import { type Fault, faults } from "./faults.ts";
import { LONG_ENOUGH_MINUTES } from "./flat.ts";
import type { Journal } from "./journal.ts";
import type { Random } from "./random.ts";

/** How many faults there are at once, at most. */
const AT_ONCE = 2;
/** In a long run each fault comes so often. */
const ROUND_MS = 5 * 60_000;
const LEAST_GAP_MS = 2_000;

export interface Deal {
  world: World;
  journal: Journal;
  random: Random;
  minutes: number;
  note: (text: string) => void;
}

/**
 * Makes faults until told to end, each as often as the others: like cards, dealt from a shuffled deck, and from a new
 * one when it is used up. One that could not be made goes back, once.
 *
 * Of a process that is ended every few minutes nobody could say whether its memory stays flat. So in a long run what
 * ends operators, and one node's agent, comes in the first half, and what ends the other node's agent in the second.
 *
 * Guarantees: all are undone when it returns.
 */
export async function dealFaults(
  { world, journal, random, minutes, note }: Deal,
  end: AbortSignal,
): Promise<void> {
  const half = Date.now() + minutes * 30_000;
  const isFirst = () => Date.now() < half;
  const isAllowed = ({ ends }: Fault) => ends !== "operator" || !isLong(minutes) || isFirst();
  const nodes = world.cluster.nodes.map(({ name }) => name);
  const nodeFor = ({ ends }: Fault): string =>
    isLong(minutes) && ends === "agent" ? nodes[isFirst() ? 0 : 1]! : random.pick(nodes);
  const gapMs = gapFor(minutes);

  const busy = new Set<Fault["target"]>();
  const deck: { fault: Fault; again: boolean }[] = [];
  const draw = () => {
    if (deck.length === 0) deck.push(...random.shuffled(faults).map((fault) => ({ fault, again: false })));
    for (let i = deck.length - 1; i >= 0; i--) if (!isAllowed(deck[i]!.fault)) deck.splice(i, 1);
    const at = deck.findIndex(({ fault }) => !busy.has(fault.target));
    return at < 0 ? undefined : deck.splice(at, 1)[0];
  };

  const lane = async () => {
    while (!end.aborted) {
      await delay(gapMs * random.between(0.5, 1.5), end).catch(() => {});
      const drawn = end.aborted ? undefined : draw();
      if (drawn === undefined) continue;
      const { fault, again } = drawn;
      busy.add(fault.target);
      const node = nodeFor(fault);
      const { seen, failed } = await journal.during(fault.name, () => fault.make({ world, node }));
      note(`${fault.name}: ${seen ?? `not made: ${failed}`}`);
      if (failed !== undefined && !again) deck.push({ fault, again: true });
      busy.delete(fault.target);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

/** Whether each half of a run is long enough to say something of those that live through it. */
export const isLong = (minutes: number): boolean => minutes >= 2.5 * LONG_ENOUGH_MINUTES;

/** The mean time between two faults side by side, so that each has its turn in a round. A short run has but one. */
export function gapFor(minutes: number): number {
  const roundMs = Math.min(ROUND_MS, minutes * 60_000 * 0.6);
  const usualMs = faults.reduce((sum, fault) => sum + fault.usualMs, 0);
  return Math.max(LEAST_GAP_MS, (roundMs * AT_ONCE - usualMs) / faults.length);
}
