import { checkpoints, restores, schedules } from "../../api/kinds.ts";
import { isOwnedBy } from "../../kube/owner.ts";
import { pods } from "../../kube/resources.ts";
import { listOf } from "../checkpoint/command.ts";
import { bytes, frozen, placesOf, podOf, stateOf, toneOf } from "../checkpoint/view.ts";
import type { Connection } from "../cluster.ts";
import { hint, type Io } from "../io.ts";
import { nameOfObject, OWN, PODS } from "../objects/kinds.ts";
import { getWorkload, podsSelected } from "../objects/pods.ts";
import type { Target } from "../objects/target.ts";
import { age } from "../output/age.ts";
import { type Format, show } from "../output/print.ts";
import type { Column } from "../output/table.ts";
import { type Entry, historyOf, type Subject } from "./history.ts";

/** Shows what there is of the states of a workload's, schedule's or pod's containers. Errors: those of the API. */
export async function showHistory(
  connection: Connection,
  io: Io,
  target: Target,
  output: Format,
): Promise<void> {
  const { client, namespace } = connection;
  const options = { namespace, signal: io.signal };
  const [subject, ofCheckpoints, ofRestores] = await Promise.all([
    subjectOf(connection, target, io.signal),
    client.listAll(checkpoints, options),
    client.listAll(restores, options),
  ]);
  const rows = historyOf(subject, ofCheckpoints.items, ofRestores.items);
  await show(io, output, {
    columns,
    rows,
    data: listOf(rows.map((entry) => (entry.type === "checkpoint" ? entry.checkpoint : entry.restore))),
    name: (entry) =>
      entry.type === "checkpoint"
        ? nameOfObject(OWN.checkpoint.resource, entry.checkpoint)
        : nameOfObject(OWN.restore.resource, entry.restore),
    none: `no checkpoints of ${target.kind.resource.kind} ${target.name} in namespace ${namespace}`,
  });
  const newest = rows.find((entry) => entry.type === "checkpoint");
  if (newest !== undefined)
    hint(io, "", `${io.program} describe ${newest.checkpoint.metadata.name}${connection.again}`);
}

async function subjectOf(connection: Connection, target: Target, signal: AbortSignal): Promise<Subject> {
  const { client, namespace } = connection;
  const { kind, name } = target;
  if (kind === PODS)
    return { pods: [await client.get(pods, { namespace, name }, { signal })], schedules: [] };
  if (kind === OWN.schedule) {
    const { spec } = await client.get(schedules, { namespace, name }, { signal });
    return { pods: await podsSelected(connection, spec.selector, signal), schedules: [name] };
  }
  const workload = await getWorkload(connection, target, signal);
  const [ofPods, ofSchedules] = await Promise.all([
    podsSelected(connection, workload.spec?.selector ?? {}, signal),
    client.listAll(schedules, { namespace, signal }),
  ]);
  const own = ofSchedules.items.filter((schedule) => isOwnedBy(schedule, workload));
  return { pods: ofPods, schedules: own.map(({ metadata }) => metadata.name), workload: name };
}

const restoreTones = { Completed: "good", Failed: "bad" } as const;

const columns: readonly Column<Entry>[] = [
  { header: "AGE", value: ({ time }) => age(time) },
  { header: "WHAT", value: ({ type }) => type },
  {
    header: "NAME",
    value: (entry) => (entry.type === "checkpoint" ? entry.checkpoint : entry.restore).metadata.name,
  },
  {
    header: "POD",
    value: (entry) =>
      entry.type === "checkpoint" ? podOf(entry.checkpoint) : entry.restore.spec.podReference.name,
    wide: true,
  },
  {
    header: "CONTAINER",
    value: (entry) =>
      entry.type === "checkpoint" ? entry.checkpoint.spec.containerName : entry.restore.status?.containerName,
  },
  {
    header: "STATE",
    value: (entry) =>
      entry.type === "checkpoint" ? stateOf(entry.checkpoint) : (entry.restore.status?.phase ?? "Pending"),
    tone: (entry) =>
      entry.type === "checkpoint"
        ? toneOf(entry.checkpoint)
        : restoreTones[entry.restore.status?.phase as keyof typeof restoreTones],
  },
  { header: "SIZE", value: (e) => (e.type === "checkpoint" ? bytes(e.checkpoint) : "-"), align: "right" },
  { header: "FROZEN", value: (e) => (e.type === "checkpoint" ? frozen(e.checkpoint) : "-"), align: "right" },
  {
    header: "RESTORED",
    value: (e) => (e.type === "checkpoint" ? (e.checkpoint.status?.restoredCount ?? 0) : "-"),
    align: "right",
  },
  {
    header: "FROM",
    wide: true,
    value: (e) =>
      e.type === "checkpoint" ? (e.checkpoint.status?.lineage?.parent ?? "-") : e.restore.spec.checkpointName,
  },
  {
    header: "BY",
    value: (e) =>
      e.type === "checkpoint"
        ? e.checkpoint.spec.checkpointScheduleRef === undefined
          ? "request"
          : "schedule"
        : "request",
    wide: true,
  },
  { header: "LIES ON", value: (e) => (e.type === "checkpoint" ? placesOf(e.checkpoint) : "-"), wide: true },
];
