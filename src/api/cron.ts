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
 * In a time zone that changes its clocks, a time that the clocks leave out is due when they go on, one that they show
 * twice is due the first time, and what is due all day long at an interval goes on at it.
 *
 * Errors: KcrError InvalidSchedule when it cannot be read, names a field out of range or never fires;
 * InvalidTimeZone when the zone is not known.
 */
export function parseCron(expression: string, timeZone = "UTC"): Cadence {
  const key = `${timeZone} ${expression}`;
  const known = cadences.get(key);
  if (known !== undefined) return known;
  const cadence = new KnownSlots(expression, timeZone);
  // The oldest goes: expressions come from people's objects, and are as many as they like.
  if (cadences.size >= MOST_CADENCES) cadences.delete(cadences.keys().next().value!);
  cadences.set(key, cadence);
  return cadence;
}

/** Those read already: the schedules of a cluster say the same few things and ask about the same moment. */
const cadences = new Map<string, Cadence>();
const MOST_CADENCES = 10_000;

/** Slots that are kept of a cadence: those around one moment, and one more. */
const MOST_SLOTS = 4;

/**
 * A cadence that knows its slots around the moment it was last asked about. Everything else is worked out from the
 * expression again: one that is read takes 70 KB, and asking it takes thirty times as long as remembering.
 */
class KnownSlots implements Cadence {
  readonly #expression: string;
  readonly #timeZone: string;
  /** Consecutive due times in milliseconds since 1970, none left out. */
  #slots: number[] = [];

  constructor(expression: string, timeZone: string) {
    this.#expression = expression;
    this.#timeZone = timeZone;
    next(read(expression, timeZone), expression, 0);
  }

  after(time: Date): Date {
    const moment = time.getTime();
    this.#know(moment);
    return new Date(this.#slots.find((slot) => slot > moment)!);
  }

  latest(after: Date, until: Date): Date | undefined {
    const moment = until.getTime();
    this.#know(moment);
    const last = this.#slots.findLast((slot) => slot <= moment);
    return last !== undefined && last > after.getTime() ? new Date(last) : undefined;
  }

  /** Has the slot after a moment among those that are known, and the one before it if there is any. */
  #know(moment: number): void {
    const slots = this.#slots;
    const [first = Number.POSITIVE_INFINITY, last = Number.NEGATIVE_INFINITY] = [slots[0], slots.at(-1)];
    if (first <= moment && moment < last) return;
    const cron = read(this.#expression, this.#timeZone);
    if (moment === last) {
      slots.push(next(cron, this.#expression, last));
      if (slots.length > MOST_SLOTS) slots.shift();
      return;
    }
    const earlier = previous(cron, moment);
    const later = next(cron, this.#expression, moment);
    const known = earlier === undefined ? [later] : [earlier, later];
    this.#slots = later === first ? [...known, ...slots.slice(1)].slice(0, MOST_SLOTS) : known;
  }
}

function read(expression: string, timeZone: string): Cron {
  // The library asks for the time zone's clock at every step; that of UTC it can do without.
  const zone = timeZone === "UTC" ? { utcOffset: 0 } : { timezone: knownZone(timeZone) };
  if (!FIELDS.test(expression)) {
    throw new KcrError("InvalidSchedule", `"${expression}" is not a cron expression of five fields`);
  }
  try {
    return new Cron(expression.trim(), { paused: true, ...zone });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new KcrError("InvalidSchedule", `"${expression}" is not a cron expression: ${why}`, { cause });
  }
}

function knownZone(timeZone: string): string {
  try {
    new Intl.DateTimeFormat("en", { timeZone });
  } catch (cause) {
    throw new KcrError("InvalidTimeZone", `time zone "${timeZone}" is not known`, { cause });
  }
  return timeZone;
}

/** The first due time after a moment. Errors: InvalidSchedule where there is none. */
function next(cron: Cron, expression: string, moment: number): number {
  const run = cron.nextRun(new Date(moment));
  if (!run) throw new KcrError("InvalidSchedule", `"${expression}" never fires`);
  return run.getTime();
}

/** The last due time up to a moment. Asked one second later because the library leaves the moment itself out. */
function previous(cron: Cron, moment: number): number | undefined {
  return cron
    .previousRuns(2, new Date(moment + 1000))
    .map((run) => run.getTime())
    .find((run) => run <= moment);
}
