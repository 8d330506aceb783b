import { createHash } from "node:crypto";
import { parseCron } from "../../api/cron.ts";

export interface ScheduleInput {
  expression: string;
  timeZone?: string;
  suspend: boolean;
  startingDeadlineSeconds?: number;
  createdTime: Date;
  lastRunTime?: Date;
  /** Where in the spread of its slots this schedule is, 0 to 1: the same for a schedule at all times. */
  place?: number;
}

export interface ScheduleDecision {
  /** The slot to be captured now. */
  run?: Date;
  /** A slot that came too late by the starting deadline, or fell into a suspension. */
  skipped?: Date;
  /** What status.lastRunTime becomes. */
  lastRunTime?: Date;
  /** When the next slot is acted upon: its due time and the schedule's place in the spread. */
  nextRunTime: Date;
}

const EPOCH = new Date(0);

/** What is due at the same moment in many schedules is spread over a tenth of the time to the next slot, or this. */
const MOST_SPREAD_MS = 60_000;

/** Where in the spread the schedule of this UID is, 0 to 1: there it stays. */
export function placeOf(uid: string): number {
  return createHash("sha256").update(uid).digest().readUInt32BE() / 2 ** 32;
}

/** By how much a schedule of that place acts later than its slot is due, in milliseconds. */
export function spreadMs(intervalMs: number, place: number): number {
  return Math.floor(Math.min(intervalMs / 10, MOST_SPREAD_MS) * place);
}

/**
 * What is due, from what the object says alone: no timer lives outside the queue. Of several slots missed
 * while nobody looked only the newest is caught up. A slot is due once per schedule: the names of its requests
 * carry its time, so that deciding it twice makes nothing twice.
 *
 * Errors: InvalidSchedule, InvalidTimeZone.
 */
export function decideSchedule(input: ScheduleInput, now: Date): ScheduleDecision {
  const cadence = parseCron(input.expression, input.timeZone);
  const last = input.lastRunTime ?? input.createdTime;
  const actAt = (slot: Date): Date => {
    const interval = cadence.after(slot).getTime() - slot.getTime();
    return new Date(slot.getTime() + spreadMs(interval, input.place ?? 0));
  };
  const newest = cadence.latest(EPOCH, now);
  // Its own moment has not come: it is the next one, unless a clock that ran ahead has had its moment.
  const ahead = newest !== undefined && actAt(newest) > now ? newest : undefined;
  const until = ahead === undefined ? now : new Date(ahead.getTime() - 1);
  // A time that lies ahead was written by a clock that ran ahead: it must not stop the schedule until then.
  if (last > now) {
    return { nextRunTime: actAt(ahead ?? cadence.after(now)), lastRunTime: cadence.latest(EPOCH, until) };
  }
  const nextRunTime = actAt(ahead !== undefined && ahead > last ? ahead : cadence.after(now));
  const due = cadence.latest(last, until);
  if (due === undefined) return { nextRunTime, lastRunTime: input.lastRunTime };
  // Whole seconds, as the deadline is: whoever is called at a moment comes some milliseconds after it.
  const late = Math.floor((now.getTime() - actAt(due).getTime()) / 1000);
  const deadline = input.startingDeadlineSeconds;
  if (input.suspend || (deadline !== undefined && late > deadline)) {
    return { skipped: due, lastRunTime: due, nextRunTime };
  }
  return { run: due, lastRunTime: due, nextRunTime };
}
