import type { Command } from "commander";
import { clusterFlagsOf, connect } from "../cluster.ts";
import { completes } from "../completion/sources.ts";
import { UsageError } from "../errors.ts";
import { selector, yes } from "../flags.ts";
import type { Io } from "../io.ts";
import { examples } from "./examples.ts";

interface Flags {
  selector?: string;
  yes?: boolean;
  wait: boolean;
}

export function registerDelete(program: Command, io: Io): void {
  const command = program
    .command("delete")
    .description("delete checkpoints with their bytes, schedules, requests, restores")
    .argument(
      "[object...]",
      "NAME of a checkpoint, or checkpoint/NAME, schedule/NAME, request/NAME, restore/NAME",
    )
    .addOption(selector("checkpoints"))
    .addOption(yes())
    .option("--wait", "wait until they and their bytes are gone (the default)", true)
    .option("--no-wait", "do not wait")
    .addHelpText(
      "after",
      examples([
        ["kcr delete redis-0-shop-1767225600", "a checkpoint: its archive, its copies, its image"],
        ["kcr delete -l pod=redis-0 --yes", "all checkpoints of a pod, without asking"],
      ]),
    )
    .action(async (words: string[], flags: Flags, command: Command) => {
      const [{ deleteAll }, { parseTargets }, { OWN }] = await Promise.all([
        import("../delete/command.ts"),
        import("../objects/target.ts"),
        import("../objects/kinds.ts"),
      ]);
      if (words.length === 0 && flags.selector === undefined) {
        throw new UsageError("name what is to be deleted, or checkpoints by their labels with -l");
      }
      const targets = parseTargets(words, Object.values(OWN), OWN.checkpoint);
      const { selector, yes = false, wait } = flags;
      await deleteAll(await connect(clusterFlagsOf(command)), io, { targets, selector, yes, wait });
    });
  completes(command, { args: ["checkpoint", "schedule", "request", "restore"], rest: true });
}
