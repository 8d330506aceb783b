import type { Source } from "./controller.ts";
import type { ObjectName } from "./resources.ts";

/** How often the clock is compared with the time that has passed, in milliseconds. */
const LOOK_MS = 5_000;
/** By how much the two may come apart before that counts, in milliseconds. */
const TOLERANCE_MS = 1_000;

/**
 * Names objects when the clock was set, or went on while the machine stood still: timers follow the time that passes,
 * so that whatever is due by the clock would be looked at as much too late as the clock has jumped ahead.
 */
export function clockChanges(now: () => Date, names: () => Iterable<ObjectName>): Source {
  const offset = (): number => now().getTime() - performance.now();
  return {
    subscribe(enqueue) {
      let known = offset();
      const timer = setInterval(() => {
        const seen = offset();
        // What comes apart slowly adds up.
        if (Math.abs(seen - known) <= TOLERANCE_MS) return;
        known = seen;
        for (const name of names()) enqueue(name);
      }, LOOK_MS);
      return () => clearInterval(timer);
    },
    waitForSync: async () => {},
  };
}
