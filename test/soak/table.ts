import { rows } from "../../bench/lib/report.ts";
import type { CrashReport } from "./crashes.ts";
import { LONG_ENOUGH_MINUTES } from "./flat.ts";

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
