import { type Command, Option } from "commander";
import { clusterFlagsOf, connect } from "../cluster.ts";
import { allNamespaces } from "../flags.ts";
import type { Io } from "../io.ts";
import { type Format, outputOption } from "../output/print.ts";
import { GROUPINGS, type Grouping } from "../usage/groupings.ts";
import { examples } from "./examples.ts";

export function registerUsage(program: Command, io: Io): void {
  program
    .command("usage")
    .description("how many bytes checkpoints take, and where")
    .addOption(allNamespaces())
    .addOption(new Option("--by <what>", "what they are added up by").choices(GROUPINGS).default("workload"))
    .addOption(outputOption())
    .addHelpText(
      "after",
      examples([
        ["kcr usage", "of each workload of the namespace, on nodes and in the registry"],
        ["kcr usage -A --by node", "what lies on each node, and which are short of disk"],
      ]),
    )
    .action(async (flags: { allNamespaces?: boolean; by: Grouping; output: Format }, command: Command) => {
      const { showUsage } = await import("../usage/command.ts");
      const { allNamespaces = false, by, output } = flags;
      await showUsage(await connect(clusterFlagsOf(command)), io, { allNamespaces, by, output });
    });
}
