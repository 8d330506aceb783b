import { parseCron } from "../../api/cron.ts";

export interface ScheduleInput {
  expression: string;
  timeZone?: string;
  suspend: boolean;
  startingDeadlineSeconds?: number;
  createdTime: Date;
  lastRunTime?: Date;
}

export interface ScheduleDecision {
  /** The slot to be captured now. */
  run?: Date;
  /** A slot that came too late by the starting deadline, or fell into a suspension. */
  skipped?: Date;
  /** What status.lastRunTime becomes. */
  lastRunTime?: Date;
  nextRunTime: Date;
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
  // A time that lies ahead was written by a clock that ran ahead: it must not stop the schedule until then.
  const since = new Date(Math.min((input.lastRunTime ?? input.createdTime).getTime(), now.getTime()));
  const nextRunTime = cadence.after(now);
  const due = cadence.latest(since, now);
  if (due === undefined) return { nextRunTime, lastRunTime: input.lastRunTime };
  const late = now.getTime() - due.getTime();
  const deadline = input.startingDeadlineSeconds;
  if (input.suspend || (deadline !== undefined && late > deadline * 1000)) {
    return { skipped: due, lastRunTime: due, nextRunTime };
  }
  return { run: due, lastRunTime: due, nextRunTime };
}
