import type { Command } from "commander";
import { clusterFlagsOf, connect } from "../cluster.ts";
import { completes } from "../completion/sources.ts";
import { deadline, yes } from "../flags.ts";
import type { Io } from "../io.ts";
import { type Format, outputOption } from "../output/print.ts";
import { examples } from "./examples.ts";

interface Flags {
  into?: string;
  container?: string;
  discard?: boolean;
  yes?: boolean;
  wait: boolean;
  timeout?: number;
  output: Format;
}

export function registerRestore(program: Command, io: Io): void {
  const command = program
    .command("restore")
    .description("take a container back to a checkpoint; what it is now is saved first")
    .argument("<checkpoint>", "NAME or checkpoint/NAME")
    .option("--into <pod>", "pod/NAME, or a workload with one pod (default: the pod it was taken of)")
    .option("-c, --container <name>", "container to take back (default: the one it was taken of)")
    .option("--discard", "lose what the container is now instead of saving it")
    .addOption(yes())
    .option("--wait", "wait until the container runs again (the default)", true)
    .option("--no-wait", "only ask for it")
    .option("--timeout <duration>", "how long it may take (default: 5m)", deadline)
    .addOption(outputOption())
    .addHelpText(
      "after",
      examples([
        ["kcr restore redis-0-shop-1767225600", "back to what the pod was then"],
        [
          "kcr restore redis-0-shop-1767225600 --into pod/redis-1",
          "the same state in another pod of that image",
        ],
        ["kcr restore redis-0-shop-1767225600 --discard --yes", "in a script, without saving what is there"],
      ]),
    )
    .action(async (word: string, flags: Flags, command: Command) => {
      const [{ restoreCheckpoint }, { parseTarget }, { OWN, PODS, WORKLOADS }] = await Promise.all([
        import("../restore/command.ts"),
        import("../objects/target.ts"),
        import("../objects/kinds.ts"),
      ]);
      await restoreCheckpoint(await connect(clusterFlagsOf(command)), io, {
        checkpoint: parseTarget(word, [OWN.checkpoint], OWN.checkpoint).name,
        into: flags.into === undefined ? undefined : parseTarget(flags.into, [PODS, ...WORKLOADS], PODS),
        container: flags.container,
        discard: flags.discard ?? false,
        yes: flags.yes ?? false,
        wait: flags.wait,
        timeoutSeconds: flags.timeout,
        output: flags.output,
      });
    });
  completes(command, { args: ["checkpoint"], options: { into: "pod" } });
}
