import { Gauge, type Registry } from "prom-client";
import type { Checkpoint } from "../../api/checkpoint.ts";
import { parseCron } from "../../api/cron.ts";
import { isGood } from "../../api/kinds.ts";
import type { CheckpointSchedule } from "../../api/schedule.ts";
import { type Context, UNDER_WAY, WAITING } from "../context.ts";

/** Workloads that have a series of their own: those that are worst off. However many there are, no more. */
const MOST_WORKLOADS = 1000;

/**
 * Gauges of how things stand, worked out when they are asked for. A replica that does not lead says nothing, so that
 * none is counted twice.
 */
export function registerGauges(
  registry: Registry,
  { caches, isLeading, now }: Pick<Context, "caches" | "now"> & { isLeading(): boolean },
): void {
  const gauge = <Label extends string>(
    name: string,
    help: string,
    labelNames: readonly Label[],
    collect: (set: (labels: Record<Label, string>, value: number) => void) => void,
  ) =>
    new Gauge({
      name,
      help,
      labelNames: [...labelNames],
      registers: [registry],
      collect() {
        this.reset();
        if (isLeading()) collect((labels, value) => this.set(labels, value));
      },
    });

  const labels = ["namespace", "schedule"] as const;
  const named = ({ metadata }: CheckpointSchedule) => ({
    namespace: metadata.namespace ?? "",
    schedule: metadata.name,
  });
  gauge(
    "kcr_last_good_checkpoint_timestamp_seconds",
    `When the newest good checkpoint of a schedule was taken; 0: there is none. Of the ${MOST_WORKLOADS} oldest`,
    labels,
    (set) => {
      for (const schedule of oldest(caches.schedules.list())) {
        set(
          named(schedule),
          Date.parse(schedule.status?.lastSuccessfulTime ?? "1970-01-01T00:00:00Z") / 1000,
        );
      }
    },
  );
  gauge(
    "kcr_schedule_overdue_seconds",
    `For how long a schedule's slots have been without a good checkpoint. Of the ${MOST_WORKLOADS} that are most overdue`,
    labels,
    (set) => {
      for (const [schedule, seconds] of mostOverdue(caches.schedules.list(), now())) {
        set(named(schedule), seconds);
      }
    },
  );
  gauge("kcr_schedules", "CheckpointSchedules", ["state"] as const, (set) => {
    const suspended = caches.schedules.list().filter(({ spec }) => spec.suspend === true).length;
    set({ state: "active" }, caches.schedules.size - suspended);
    set({ state: "suspended" }, suspended);
  });
  gauge("kcr_requests", "CheckpointRequests that have not ended", ["state"] as const, (set) => {
    set({ state: "waiting" }, caches.requests.byIndex(WAITING, WAITING).length);
    set({ state: "under_way" }, caches.requests.byIndex(UNDER_WAY, UNDER_WAY).length);
  });
  gauge("kcr_checkpoints", "Checkpoints", ["state"] as const, (set) => {
    const count = { good: 0, failed: 0, other: 0 };
    for (const checkpoint of caches.checkpoints.list()) {
      if (isGood(checkpoint)) count.good += 1;
      else if (checkpoint.status?.phase === "Failed") count.failed += 1;
      else count.other += 1;
    }
    for (const [state, value] of Object.entries(count)) set({ state }, value);
  });
  gauge(
    "kcr_stored_bytes",
    "Bytes of the archives of which there are copies: on nodes, the own one or another, and in the registry. By the Checkpoints' nodes, whose agents say so; equal parts count each time",
    ["place", "node"] as const,
    (set) => {
      for (const [node, bytes] of storedBytes(
        caches.checkpoints.list(),
        (node) => caches.nodes.get(undefined, node) !== undefined,
      )) {
        for (const [place, value] of Object.entries(bytes)) set({ place, node }, value);
      }
    },
  );
}

/** Bytes by the node whose agent tells of them, those of nodes that are gone together, and by where copies are. */
export function storedBytes(
  checkpoints: readonly Checkpoint[],
  isNode: (name: string) => boolean,
): Map<string, { node: number; registry: number }> {
  const stored = new Map<string, { node: number; registry: number }>();
  for (const { spec, status } of checkpoints) {
    const copies = status?.copies ?? [];
    if (copies.length === 0) continue;
    const teller = isNode(spec.nodeName) ? spec.nodeName : "";
    const bytes = stored.getOrInsertComputed(teller, () => ({ node: 0, registry: 0 }));
    for (const { kind } of copies) bytes[kind === "Node" ? "node" : "registry"] += status?.sizeBytes ?? 0;
  }
  return stored;
}

/** Those whose newest good checkpoint is oldest, or missing. */
function oldest(all: CheckpointSchedule[]): CheckpointSchedule[] {
  // Of what is suspended nobody expects anything.
  const schedules = all.filter(({ spec }) => spec.suspend !== true);
  if (schedules.length <= MOST_WORKLOADS) return schedules;
  const savedTime = ({ status }: CheckpointSchedule) => status?.lastSuccessfulTime ?? "";
  return schedules
    .sort((a, b) => (savedTime(a) < savedTime(b) ? -1 : savedTime(a) > savedTime(b) ? 1 : 0))
    .slice(0, MOST_WORKLOADS);
}

/** Those of which a good checkpoint is missing longest, and for how long. */
function mostOverdue(all: CheckpointSchedule[], now: Date): [CheckpointSchedule, number][] {
  return all
    .filter(({ spec }) => spec.suspend !== true)
    .map((schedule): [CheckpointSchedule, number] => [schedule, overdueSeconds(schedule, now)])
    .sort(([, a], [, b]) => b - a)
    .slice(0, MOST_WORKLOADS);
}

/** For how long a slot has waited for a good checkpoint, the first one since the last; 0 when it has one, or none is wanted. */
export function overdueSeconds(schedule: CheckpointSchedule, now: Date): number {
  // A cache's objects do not change, and an expression takes its time to read: it is found out once for each.
  const since = overdueSince.getOrInsertComputed(schedule, firstMissed);
  return since === undefined ? 0 : Math.max(0, (now.getTime() - since) / 1000);
}

const overdueSince = new WeakMap<CheckpointSchedule, number | undefined>();

/** When the slot was due that has waited longest for a good checkpoint, in milliseconds. */
function firstMissed({ metadata, spec, status }: CheckpointSchedule): number | undefined {
  const { lastRunTime, lastSuccessfulTime } = status ?? {};
  if (spec.suspend === true || lastRunTime === undefined) return undefined;
  const since = lastSuccessfulTime ?? metadata.creationTimestamp;
  // What was due before there was a schedule is nobody's: a clock that ran ahead can have its last run there.
  if (since !== undefined && Date.parse(since) >= Date.parse(lastRunTime)) return undefined;
  const missed = since === undefined ? undefined : slotAfter(spec, new Date(since));
  return Math.min(Date.parse(lastRunTime), missed?.getTime() ?? Number.POSITIVE_INFINITY);
}

function slotAfter({ schedule, timeZone }: CheckpointSchedule["spec"], time: Date): Date | undefined {
  try {
    return parseCron(schedule, timeZone).after(time);
  } catch {
    // It says so itself (condition Ready).
    return undefined;
  }
}
