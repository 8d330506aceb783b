import { rows } from "../../bench/lib/report.ts";
import { type Course, LONG_ENOUGH_MINUTES } from "./flat.ts";
import type { Incident } from "./journal.ts";
import type { Tally } from "./player.ts";
import type { reasonsOf } from "./settled.ts";
import type { Failure } from "./story.ts";
import type { Strategy } from "./workloads.ts";

/** What happened in a run, and what did not hold. */
export interface CrashReport {
  seed: number;
  minutes: number;
  /** Restores that were seen from outside: a program that was killed went on in the same life. */
  restores: Record<Strategy, number>;
  crashes: number;
  /** How often each fault really happened. */
  faults: Record<string, number>;
  checkpoints: { made: number; deleted: number; failed: ReturnType<typeof reasonsOf> };
  workloads: (Omit<Tally, "awayMs"> & { name: string; awaySeconds: { median: number; most: number } })[];
  /** Memory and open files of every process of operator and agent. */
  courses: Course[];
  incidents: Incident[];
  failures: Failure[];
}

/** Restores and faults that a run was to have and had none of. */
export function zeros({ restores, faults }: Pick<CrashReport, "restores" | "faults">): string[] {
  const counts = {
    ...faults,
    "restores by strategy Runtime": restores.Runtime,
    "restores by strategy Image": restores.Image,
  };
  return Object.entries(counts)
    .filter(([, count]) => count === 0)
    .map(([name]) => `never happened: ${name}`);
}

/** A run for people, in Markdown. */
export function tableOf(report: CrashReport): string {
  const { restores, crashes, faults, checkpoints, workloads, courses, failures } = report;
  const failed = Object.entries(checkpoints.failed).map(([reason, { count }]) => `${count} ${reason}`);
  const judged = courses.filter(({ flat }) => flat !== undefined);
  return [
    ...rows(
      ["what happened", "how often"],
      [
        ["crash (SIGKILL)", `${crashes}`],
        ["restored by strategy Runtime", `${restores.Runtime}`],
        ["restored by strategy Image", `${restores.Image}`],
        ["Checkpoints made", `${checkpoints.made}`],
        ["deleted meanwhile", `${checkpoints.deleted}`],
        ["failed, of those that were left", failed.join(", ") || "0"],
        ...Object.entries(faults).map(([name, count]) => [name, `${count}`]),
      ],
    ),
    "",
    ...rows(
      ["workload", "crashes", "ended unasked", "restored", "began afresh", "away: median, most"],
      workloads.map(({ name, crashes, unasked, restores, fresh, awaySeconds: { median, most } }) => [
        name,
        `${crashes}`,
        `${unasked}`,
        `${restores}`,
        `${fresh}`,
        `${median} s, ${most} s`,
      ]),
    ),
    "",
    ...(judged.length === 0
      ? [`No process lived for ${LONG_ENOUGH_MINUTES} minutes: nothing is said of memory and files.`]
      : rows(
          ["process", "lived", "MiB, second third and last", "open files", ""],
          judged.map(({ name, minutes, rssMiB, files, flat }) => [
            name,
            `${minutes} min`,
            rssMiB.join(", "),
            files.join(", "),
            flat ? "flat" : "NOT FLAT",
          ]),
        )),
    "",
    ...(failures.length === 0
      ? ["All of it held."]
      : failures.map(({ at, what }) => `DOES NOT HOLD: ${at} ${what}`)),
  ].join("\n");
}
