import { Cron } from "croner";
import { KcrError } from "./errors.ts";

/** When a schedule is due. Pure: computes times, starts nothing. */
export interface Cadence {
  /** First due time strictly after `time`. */
  after(time: Date): Date;
  /** Newest due time in (after, until], if any: of several missed slots only this one is caught up. */
  latest(after: Date, until: Date): Date | undefined;
}

const FIELDS = /^\s*(@[a-z]+|\S+(\s+\S+){4})\s*$/i;

/**
 * Reads a cron expression of five fields or a nickname (`@hourly`, `@midnight`, ...).
 *
 * Errors: KcrError InvalidSchedule when it cannot be read, names a field out of range or never fires;
 * InvalidTimeZone when the zone is not known.
 */
export function parseCron(expression: string, timeZone = "UTC"): Cadence {
  const key = `${timeZone} ${expression}`;
  const known = cadences.get(key);
  if (known !== undefined) return known;
  const cadence = parse(expression, timeZone);
  // The oldest goes: expressions come from people's objects, and are as many as they like.
  if (cadences.size >= MOST_CADENCES) cadences.delete(cadences.keys().next().value!);
  cadences.set(key, cadence);
  return cadence;
}

/** Those read already: most schedules of a cluster say the same few things, and reading costs more than asking. */
const cadences = new Map<string, Cadence>();
const MOST_CADENCES = 1000;

function parse(expression: string, timeZone: string): Cadence {
  try {
    new Intl.DateTimeFormat("en", { timeZone });
  } catch (cause) {
    throw new KcrError("InvalidTimeZone", `time zone "${timeZone}" is not known`, { cause });
  }
  if (!FIELDS.test(expression)) {
    throw new KcrError("InvalidSchedule", `"${expression}" is not a cron expression of five fields`);
  }
  let cron: Cron;
  try {
    cron = new Cron(expression.trim(), { paused: true, timezone: timeZone });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new KcrError("InvalidSchedule", `"${expression}" is not a cron expression: ${why}`, { cause });
  }
  const next = (time: Date): Date => {
    const run = cron.nextRun(time);
    if (!run) throw new KcrError("InvalidSchedule", `"${expression}" never fires`);
    return run;
  };
  next(new Date(0));
  return {
    after: next,
    latest(after, until) {
      // Asked one second later because the library leaves the moment itself out.
      const last = cron
        .previousRuns(2, new Date(until.getTime() + 1000))
        .find((run) => run.getTime() <= until.getTime());
      return last !== undefined && last > after ? last : undefined;
    },
  };
}
