import type { Command } from "commander";
import { clusterFlagsOf, connect } from "../cluster.ts";
import { completes } from "../completion/sources.ts";
import { watching } from "../flags.ts";
import type { Io } from "../io.ts";
import { type Format, outputOption } from "../output/print.ts";
import { examples } from "./examples.ts";

export function registerHistory(program: Command, io: Io): void {
  const command = program
    .command("history")
    .description("the checkpoints of a workload and the restores that were asked for, newest first")
    .argument("<target>", "deploy/NAME, sts/NAME, ds/NAME, job/NAME, pod/NAME, schedule/NAME")
    .addOption(watching())
    .addOption(outputOption())
    .addHelpText(
      "after",
      examples([
        ["kcr history deploy/redis", "what there is to go back to"],
        ["kcr history pod/redis-0 -o wide", "with places, and who asked"],
      ]),
    )
    .action(async (word: string, flags: { watch?: boolean; output: Format }, command: Command) => {
      const [{ showHistory }, { parseTarget }, { OWN, PODS, WORKLOADS }, { repeat }] = await Promise.all([
        import("../history/command.ts"),
        import("../objects/target.ts"),
        import("../objects/kinds.ts"),
        import("../output/repeat.ts"),
      ]);
      const target = parseTarget(word, [...WORKLOADS, PODS, OWN.schedule]);
      const connection = await connect(clusterFlagsOf(command));
      const once = (io: Io): Promise<void> => showHistory(connection, io, target, flags.output);
      await (flags.watch ? repeat(io, once) : once(io));
    });
  completes(command, { args: [["workload", "pod", "schedule"]] });
}
