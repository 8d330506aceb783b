import { ERRORS, type ErrorCode } from "../../api/errors.ts";
import { checkpoints, schedules } from "../../api/kinds.ts";
import { SCHEDULE_ANNOTATION } from "../../api/labels.ts";
import { isForbidden } from "../../kube/errors.ts";
import { pods, type Resource } from "../../kube/resources.ts";
import type { Connection } from "../cluster.ts";
import { EXIT } from "../exit.ts";
import { hint, type Io, print } from "../io.ts";
import { findKind, WORKLOADS, wordOf } from "../objects/kinds.ts";
import type { Workload } from "../objects/pods.ts";
import { matchesText } from "../objects/selector.ts";
import { age, relative } from "../output/age.ts";
import { painter } from "../output/colour.ts";
import { type Format, show } from "../output/print.ts";
import { safe } from "../output/safe.ts";
import type { Column } from "../output/table.ts";
import { type Assessment, assess, type Surroundings } from "./assess.ts";

export interface StatusOptions {
  allNamespaces: boolean;
  /** Labels of the workloads, or of schedules that belong to none. */
  selector?: string;
  output: Format;
}

/**
 * Shows how every protected workload is, problems first and with what to do. A problem makes the answer "no".
 *
 * Errors: those of the API.
 */
export async function showStatus(connection: Connection, io: Io, options: StatusOptions): Promise<void> {
  const { allNamespaces, selector, output } = options;
  const namespace = allNamespaces ? undefined : connection.namespace;
  const around = await gather(connection, io, namespace);
  const all = assess(around);
  const rows = selector === undefined ? all : all.filter(({ labels }) => matchesText(selector, labels));
  await show(io, output, {
    columns: columnsOf(allNamespaces, around.now.getTime()),
    rows,
    data: { items: rows },
    name: (row) => wordFor(row),
    none: `nothing is protected ${allNamespaces ? "in any namespace" : `in namespace ${namespace}`}; ${io.program} protect deploy/NAME --schedule '*/10 * * * *'${connection.again} begins`,
  });
  const failing = rows.filter(({ problems }) => problems.length > 0);
  if (failing.length > 0) io.exitCode = EXIT.no;
  if (output !== "table" && output !== "wide") return;
  for (const row of failing) await explain(io, row, allNamespaces, connection.again);
  if (rows.length > 0 && rows.every(({ health }) => health === "OK")) hint(io, "", "all is well");
}

async function explain(io: Io, row: Assessment, withNamespace: boolean, again: string): Promise<void> {
  const paint = painter(io);
  const where = withNamespace ? `${row.namespace} ` : "";
  await print(io, "", paint("bold", safe(`${where}${wordFor(row)}`)));
  for (const { code, message } of row.problems) {
    await print(io, `  ${paint("bad", safe(code))}: ${safe(message)}`);
    const todo = remedy(io, code, row, withNamespace ? ` -n ${row.namespace}` : again);
    // Messages of conditions may say it themselves.
    if (todo !== undefined && !message.includes(todo)) await print(io, `    ${todo}`);
  }
}

function remedy(io: Io, code: string, row: Assessment, again: string): string | undefined {
  if (code === "RuntimeFromNextPod") {
    return `To make its pods anew: ${io.program} protect ${wordFor(row)} --schedule '${safe(row.expression)}' --restart${again}`;
  }
  return code in ERRORS ? ERRORS[code as ErrorCode].remedy : undefined;
}

/** `deploy/redis`; of a schedule that belongs to no workload `ckpts/nightly`. */
export const wordFor = ({ kind, name }: Pick<Assessment, "kind" | "name">): string => {
  const known = findKind(kind, WORKLOADS);
  return `${known === undefined ? (kind === schedules.kind ? "ckpts" : kind.toLowerCase()) : wordOf(known)}/${name}`;
};

const TONES = { Problem: "bad", Suspended: "warn", Waiting: "warn", OK: "good" } as const;

const columnsOf = (allNamespaces: boolean, now: number): Column<Assessment>[] => [
  ...(allNamespaces ? [{ header: "NAMESPACE", value: (row: Assessment) => row.namespace }] : []),
  { header: "WORKLOAD", value: wordFor },
  { header: "HEALTH", value: ({ health }) => health, tone: ({ health }) => TONES[health] },
  { header: "LAST GOOD", value: ({ lastGood }) => age(lastGood, now) },
  { header: "SCHEDULE", value: ({ expression }) => expression },
  { header: "NEXT RUN", value: ({ nextRun }) => relative(nextRun, now) },
  {
    header: "STRATEGY",
    value: ({ strategy }) => strategy,
    tone: ({ strategy }) => (strategy === "None" ? "bad" : undefined),
  },
  { header: "LAST RESTORE", value: ({ lastRestore }) => relative(lastRestore?.time, now) },
  { header: "PODS", value: (row) => row.pods, wide: true, align: "right" },
  { header: "GOOD", value: (row) => row.goodCheckpoints, wide: true, align: "right" },
  { header: "TIME ZONE", value: ({ timeZone }) => timeZone, wide: true },
  { header: "RESTORED FROM", value: ({ lastRestore }) => lastRestore?.checkpoint, wide: true },
  { header: "PROBLEM", value: ({ problems }) => problems.map(({ code }) => code).join(", ") || "-" },
];

async function gather({ client }: Connection, io: Io, namespace: string | undefined): Promise<Surroundings> {
  const options = { namespace, signal: io.signal };
  const [ofSchedules, ofPods, ofCheckpoints, ...ofWorkloads] = await Promise.all([
    client.listAll(schedules, options),
    client.listAll(pods, options),
    client.listAll(checkpoints, options),
    ...WORKLOADS.map(async ({ resource }) => {
      try {
        return (await client.listAll(resource as Resource<Workload>, options)).items;
      } catch (error) {
        // What has a schedule is seen all the same.
        if (!isForbidden(error)) throw error;
        io.stderr.write(
          `${resource.plural} may not be listed here: those without a schedule are not shown\n`,
        );
        return [];
      }
    }),
  ]);
  return {
    now: new Date(),
    schedules: ofSchedules.items,
    pods: ofPods.items,
    checkpoints: ofCheckpoints.items,
    workloads: ofWorkloads
      .flat()
      .filter(({ metadata }) => metadata.annotations?.[SCHEDULE_ANNOTATION] !== undefined),
  };
}
