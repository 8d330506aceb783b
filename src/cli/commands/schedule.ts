import type { Command } from "commander";
import { clusterFlagsOf, connect } from "../cluster.ts";
import { completes } from "../completion/sources.ts";
import { type Io, print } from "../io.ts";
import { examples } from "./examples.ts";

export function registerSchedule(program: Command, io: Io): void {
  const schedule = program.command("schedule").description("pause the checkpoints of a schedule, and go on");
  schedule.addHelpText(
    "after",
    examples([
      [
        "kcr schedule suspend deploy/redis",
        "no new checkpoints of it; a crash still goes back to the last one",
      ],
      ["kcr schedule resume deploy/redis", "go on"],
    ]),
  );
  for (const [name, suspend, description] of [
    ["suspend", true, "take no new checkpoints; restores go on"],
    ["resume", false, "take checkpoints again as scheduled"],
  ] as const) {
    const command = schedule
      .command(name)
      .description(description)
      .argument("<schedule...>", "a CheckpointSchedule by NAME, or the workload it protects: deploy/NAME")
      .addHelpText("after", examples([[`kcr schedule ${name} deploy/redis`, description]]))
      .action(async (words: string[], _flags: object, command: Command) => {
        const [{ setSuspended }, { parseTargets }, { OWN, WORKLOADS }] = await Promise.all([
          import("../protect/suspend.ts"),
          import("../objects/target.ts"),
          import("../objects/kinds.ts"),
        ]);
        const targets = parseTargets(words, [OWN.schedule, ...WORKLOADS], OWN.schedule);
        const connection = await connect(clusterFlagsOf(command));
        for (const target of targets) {
          const { changed, name } = await setSuspended(connection, target, suspend, io.signal);
          const state = suspend ? "suspended" : "resumed";
          await print(
            io,
            `schedule/${name} ${changed ? state : `is ${suspend ? "" : "not "}suspended already`}`,
          );
        }
      });
    completes(command, { args: ["schedule", "workload"], rest: true });
  }
}
