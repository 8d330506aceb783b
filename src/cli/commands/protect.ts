import type { Command } from "commander";
import { clusterFlagsOf, connect } from "../cluster.ts";
import { completes } from "../completion/sources.ts";
import { UsageError } from "../errors.ts";
import { yes } from "../flags.ts";
import type { Io } from "../io.ts";
import type { Target } from "../objects/target.ts";
import { examples } from "./examples.ts";

export function registerProtect(program: Command, io: Io): void {
  const protect = program
    .command("protect")
    .description("take checkpoints of a workload on a schedule, and bring it back from them")
    .argument("<workload...>", "deploy/NAME, sts/NAME, ds/NAME, job/NAME")
    .requiredOption("--schedule <cron>", "five fields, or a nickname such as @hourly; in UTC")
    .option(
      "--restart",
      "make its pods anew, as kubectl rollout restart does: they may need the runtime class",
    )
    .addHelpText(
      "after",
      examples([
        ["kcr protect deploy/redis --schedule '*/10 * * * *'", "every ten minutes"],
        ["kcr protect sts/game --schedule @hourly --restart", "with pods that the runtime handler restores"],
      ]),
    )
    .action(async (words: string[], flags: { schedule: string; restart?: boolean }, command: Command) => {
      const { protect } = await import("../protect/command.ts");
      const targets = await workloads(words);
      const job = targets.find(({ kind }) => kind.resource.kind === "Job");
      if (flags.restart && job !== undefined) {
        throw new UsageError(`job/${job.name} cannot be restarted: its pods are what they are`);
      }
      const { schedule, restart = false } = flags;
      await protect(await connect(clusterFlagsOf(command)), io, targets, { schedule, restart });
    });
  completes(protect, { args: ["workload"], rest: true });

  const unprotect = program
    .command("unprotect")
    .description("end the protection of a workload; the checkpoints of its schedule go with it")
    .argument("<workload...>", "deploy/NAME, sts/NAME, ds/NAME, job/NAME")
    .addOption(yes())
    .addHelpText("after", examples([["kcr unprotect deploy/redis", "asks, for its checkpoints are deleted"]]))
    .action(async (words: string[], flags: { yes?: boolean }, command: Command) => {
      const { unprotect } = await import("../protect/command.ts");
      const targets = await workloads(words);
      await unprotect(await connect(clusterFlagsOf(command)), io, targets, { yes: flags.yes ?? false });
    });
  completes(unprotect, { args: ["workload"], rest: true });
}

async function workloads(words: readonly string[]): Promise<Target[]> {
  const [{ parseTargets }, { PODS, WORKLOADS }] = await Promise.all([
    import("../objects/target.ts"),
    import("../objects/kinds.ts"),
  ]);
  const targets = parseTargets(words, [...WORKLOADS, PODS]);
  const pod = targets.find(({ kind }) => kind === PODS);
  if (pod !== undefined) {
    throw new UsageError(
      `pod/${pod.name} is protected through its workload, or by a CheckpointSchedule that selects its labels`,
    );
  }
  return targets;
}
