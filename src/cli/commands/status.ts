import type { Command } from "commander";
import { clusterFlagsOf, connect } from "../cluster.ts";
import { allNamespaces, selector, watching } from "../flags.ts";
import type { Io } from "../io.ts";
import { type Format, outputOption } from "../output/print.ts";
import { examples } from "./examples.ts";

interface Flags {
  allNamespaces?: boolean;
  selector?: string;
  watch?: boolean;
  output: Format;
}

export function registerStatus(program: Command, io: Io): void {
  program
    .command("status")
    .description("is everything all right: every protected workload, problems first")
    .addOption(allNamespaces())
    .addOption(selector("workloads"))
    .addOption(watching())
    .addOption(outputOption())
    .addHelpText(
      "after",
      [
        "\nIt ends with 3 if there is a problem. HEALTH is Waiting before the first checkpoint.\n",
        examples([
          ["kcr status", "of this namespace"],
          ["kcr status -A --watch", "of all, as it changes"],
          ["kcr status -o json | jq '.items[] | select(.health == \"Problem\")'", "for a script"],
        ]),
      ].join(""),
    )
    .action(async (flags: Flags, command: Command) => {
      const [{ showStatus }, { repeat }] = await Promise.all([
        import("../status/command.ts"),
        import("../output/repeat.ts"),
      ]);
      const connection = await connect(clusterFlagsOf(command));
      const { output } = flags;
      const once = (io: Io): Promise<void> =>
        showStatus(connection, io, {
          allNamespaces: flags.allNamespaces ?? false,
          selector: flags.selector,
          output,
        });
      await (flags.watch ? repeat(io, once) : once(io));
    });
}
