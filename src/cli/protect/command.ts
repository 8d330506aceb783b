import { findCondition } from "../../api/conditions.ts";
import { parseCron } from "../../api/cron.ts";
import { KcrError } from "../../api/errors.ts";
import { checkpoints, schedules } from "../../api/kinds.ts";
import { SCHEDULE_ANNOTATION } from "../../api/labels.ts";
import { scheduleName } from "../../api/names.ts";
import type { CheckpointSchedule } from "../../api/schedule.ts";
import { isOwnedBy } from "../../kube/owner.ts";
import { delay } from "../../kube/signals.ts";
import { absent } from "../../kube/write.ts";
import { confirm } from "../ask.ts";
import type { Connection } from "../cluster.ts";
import { told } from "../errors.ts";
import { EXIT } from "../exit.ts";
import { hint, type Io, print } from "../io.ts";
import { wordOf } from "../objects/kinds.ts";
import { getWorkload, type Workload } from "../objects/pods.ts";
import type { Target } from "../objects/target.ts";
import { relative } from "../output/age.ts";
import { startProgress } from "../output/progress.ts";
import { safe } from "../output/safe.ts";

/** How long the operator has to say what it makes of an annotation, in milliseconds. */
const OPERATOR_MS = 20_000;
const LOOK_MS = 250;
/** What `kubectl rollout restart` writes into a pod template. */
const RESTARTED_AT = "kubectl.kubernetes.io/restartedAt";

/**
 * Annotates workloads, waits for what kcr makes of it, and says how their pods would come back.
 *
 * Errors: KcrError InvalidSchedule before anything is written, ScheduleNameTaken; those of the API.
 */
export async function protect(
  connection: Connection,
  io: Io,
  targets: readonly Target[],
  { schedule, restart }: { schedule: string; restart: boolean },
): Promise<void> {
  parseCron(schedule);
  for (const target of targets) {
    const workload = await annotate(connection, io, target, schedule);
    const made = await scheduleOf(connection, io, target, workload);
    const word = `${wordOf(target.kind)}/${target.name}`;
    if (restart) await rollOut(connection, io, target);
    if (made === undefined) {
      await print(io, `${word} is annotated; the operator of kcr has not made a schedule of it yet`);
      continue;
    }
    const next = relative(made.status?.nextRunTime);
    await print(io, `${word} is protected${next === undefined ? "" : `, first checkpoint ${next}`}`);
    if (restart) {
      await print(io, "  its pods are being made anew; they start afresh, once");
      continue;
    }
    const strategy = findCondition(made.status?.conditions, "Strategy");
    if (strategy !== undefined) await print(io, `  its way back: ${safe(strategy.message)}`);
    if (strategy?.reason === "RuntimeFromNextPod") {
      await print(
        io,
        `  to make its pods anew now: ${io.program} protect ${word} --schedule '${safe(schedule)}' --restart${connection.again}`,
      );
    }
  }
  hint(io, "", `${io.program} status${connection.again}`);
}

/**
 * Takes the annotation away, once the person agrees: with the schedule go its Checkpoints.
 *
 * Errors: those of the API.
 */
export async function unprotect(
  connection: Connection,
  io: Io,
  targets: readonly Target[],
  { yes }: { yes: boolean },
): Promise<void> {
  for (const target of targets) {
    const word = `${wordOf(target.kind)}/${target.name}`;
    const workload = await getWorkload(connection, target, io.signal);
    if (workload.metadata.annotations?.[SCHEDULE_ANNOTATION] === undefined) {
      await print(io, `${word} is not protected`);
      continue;
    }
    const count = await countOf(connection, io, target);
    const question = `With the protection of ${word} ${count === 1 ? "goes 1 checkpoint" : `go ${count} checkpoints`}. Go on?`;
    if (count > 0 && !yes && !(await confirm(io, question))) {
      io.stderr.write("nothing was done\n");
      io.exitCode = EXIT.failed;
      continue;
    }
    await annotate(connection, io, target, null);
    await print(io, `${word} is not protected any more`);
  }
}

/** Checkpoints that go with a workload's schedule. */
async function countOf({ client, namespace }: Connection, io: Io, target: Target): Promise<number> {
  const name = scheduleName(target.name, target.kind.resource.kind);
  const { items } = await client.listAll(checkpoints, { namespace, signal: io.signal });
  return items.filter(
    ({ spec, metadata }) =>
      spec.checkpointScheduleRef?.name === name && (metadata.ownerReferences?.length ?? 0) > 0,
  ).length;
}

function annotate(
  { client, namespace }: Connection,
  io: Io,
  { kind, name }: Target,
  value: string | null,
): Promise<Workload> {
  const body = { metadata: { annotations: { [SCHEDULE_ANNOTATION]: value } } };
  const { signal } = io;
  return client.patch<Workload>(kind.resource, { namespace, name }, { type: "merge", body }, { signal });
}

/** As `kubectl rollout restart` does it. */
async function rollOut({ client, namespace }: Connection, io: Io, { kind, name }: Target): Promise<void> {
  const annotations = { [RESTARTED_AT]: new Date().toISOString() };
  const body = { spec: { template: { metadata: { annotations } } } };
  await client.patch(kind.resource, { namespace, name }, { type: "merge", body }, { signal: io.signal });
}

/** The schedule that the annotation made, once its conditions are known; undefined where nobody makes one. */
async function scheduleOf(
  connection: Connection,
  io: Io,
  { kind, name }: Target,
  workload: Workload,
): Promise<CheckpointSchedule | undefined> {
  const { client, namespace } = connection;
  const wanted = workload.metadata.annotations?.[SCHEDULE_ANNOTATION];
  using progress = startProgress(io, "waiting for the operator of kcr");
  const until = performance.now() + OPERATOR_MS;
  for (;;) {
    const schedule = await client
      .get(schedules, { namespace, name: scheduleName(name, kind.resource.kind) }, { signal: io.signal })
      .catch(absent);
    if (schedule !== undefined && !isOwnedBy(schedule, workload)) {
      throw new KcrError(
        "ScheduleNameTaken",
        `CheckpointSchedule ${schedule.metadata.name} belongs to something else`,
      );
    }
    const ready = findCondition(schedule?.status?.conditions, "Ready");
    const isSeen = schedule?.spec.schedule === wanted && ready !== undefined;
    if (isSeen && ready.status === "False" && ready.reason !== "NoMatchingPods") {
      throw told(ready.reason, ready.message);
    }
    const strategy = findCondition(schedule?.status?.conditions, "Strategy");
    if (isSeen && (strategy !== undefined || ready.reason === "NoMatchingPods")) return schedule;
    // The way back is told a moment after the rest, and not of all schedules.
    if (performance.now() > until - (isSeen ? OPERATOR_MS - 3_000 : 0)) return schedule;
    progress.update({});
    await delay(LOOK_MS, io.signal);
  }
}
