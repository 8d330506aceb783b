import type { Command } from "commander";
import { clusterFlagsOf, connect } from "../cluster.ts";
import { completes } from "../completion/sources.ts";
import type { Io } from "../io.ts";
import { examples } from "./examples.ts";

export function registerDescribe(program: Command, io: Io): void {
  const command = program
    .command("describe")
    .description("all about a checkpoint, schedule, request or restore, and what can be done with it")
    .argument(
      "<object...>",
      "NAME of a checkpoint, or checkpoint/NAME, schedule/NAME, request/NAME, restore/NAME",
    )
    .addHelpText(
      "after",
      examples([
        ["kcr describe redis-0-shop-1767225600", "a checkpoint: where it lies, where it came from"],
        ["kcr describe schedule/redis", "why no checkpoints are taken"],
      ]),
    )
    .action(async (words: string[], _flags: object, command: Command) => {
      const [{ describeAll }, { parseTargets }, { OWN }] = await Promise.all([
        import("../describe/command.ts"),
        import("../objects/target.ts"),
        import("../objects/kinds.ts"),
      ]);
      const targets = parseTargets(words, Object.values(OWN), OWN.checkpoint);
      await describeAll(await connect(clusterFlagsOf(command)), io, targets);
    });
  completes(command, { args: ["checkpoint", "schedule", "request", "restore"], rest: true });
}
