import type { Command } from "commander";
import { clusterFlagsOf, connect } from "../cluster.ts";
import { allNamespaces } from "../flags.ts";
import type { Io } from "../io.ts";
import { type Format, outputOption } from "../output/print.ts";
import { examples } from "./examples.ts";

export function registerRetention(program: Command, io: Io): void {
  const retention = program
    .command("retention")
    .description("which checkpoints stay, and which go")
    .addHelpText("after", examples([["kcr retention plan", "what would go now, and why"]]));
  retention
    .command("plan")
    .description("which checkpoints would go now, why, and how much that frees; nothing is removed")
    .addOption(allNamespaces())
    .option("--policy <file>", "policies as they might be, in place of those of their names (YAML)")
    .option("--spared", "also what stays although a policy says otherwise, and why")
    .addOption(outputOption())
    .addHelpText(
      "after",
      examples([
        ["kcr retention plan", "by the policies that are there, dry runs included"],
        ["kcr retention plan --policy nightly.yaml --spared", "before it is applied"],
      ]),
    )
    .action(
      async (
        flags: { allNamespaces?: boolean; policy?: string; spared?: boolean; output: Format },
        command: Command,
      ) => {
        const { showPlan } = await import("../retention/command.ts");
        const { allNamespaces = false, spared = false, policy, output } = flags;
        const options = { allNamespaces, spared, output, ...(policy === undefined ? {} : { policy }) };
        await showPlan(await connect(clusterFlagsOf(command)), io, options);
      },
    );
}
