import type { Command } from "commander";
import { clusterFlagsOf, connect } from "../cluster.ts";
import { completes } from "../completion/sources.ts";
import { UsageError } from "../errors.ts";
import { deadline, selector, several } from "../flags.ts";
import type { Io } from "../io.ts";
import { type Format, outputOption } from "../output/print.ts";
import { examples } from "./examples.ts";

interface Flags {
  container?: string[];
  allContainers?: boolean;
  selector?: string;
  wait: boolean;
  timeout?: number;
  output: Format;
}

export function registerCheckpoint(program: Command, io: Io): void {
  const command = program
    .command("checkpoint")
    .description("take a checkpoint now, of a pod or of all pods of a workload")
    .argument("[target...]", "pod/NAME, deploy/NAME, sts/NAME, ds/NAME, job/NAME")
    .option(
      "-c, --container <name>",
      "only this container; may be given again (default: the pod's own)",
      several,
    )
    .option("--all-containers", "of all containers")
    .addOption(selector("pods"))
    .option("--wait", "wait until the checkpoint is good (the default)", true)
    .option("--no-wait", "only ask for it")
    .option("--timeout <duration>", "how long the dump may take (default: 5m)", deadline)
    .addOption(outputOption())
    .addHelpText(
      "after",
      examples([
        ["kcr checkpoint pod/redis-0", "the state of a pod's container, now"],
        ["kcr checkpoint deploy/web -c app", "container app of every pod of a Deployment"],
        ["kcr checkpoint -l app=web --no-wait -o name", "ask and go on; prints the requests"],
      ]),
    )
    .action(async (words: string[], flags: Flags, command: Command) => {
      const [{ takeCheckpoints }, { parseTargets }, { PODS, WORKLOADS }] = await Promise.all([
        import("../checkpoint/command.ts"),
        import("../objects/target.ts"),
        import("../objects/kinds.ts"),
      ]);
      if (words.length === 0 && flags.selector === undefined) {
        throw new UsageError("name a pod or a workload, such as deploy/web, or pods by their labels with -l");
      }
      if (flags.allContainers && flags.container) {
        throw new UsageError("--all-containers and -c contradict each other");
      }
      const targets = parseTargets(words, [PODS, ...WORKLOADS]);
      const { container: containers, allContainers, wait, timeout: timeoutSeconds, output } = flags;
      await takeCheckpoints(await connect(clusterFlagsOf(command)), io, {
        targets,
        selector: flags.selector,
        containers,
        allContainers,
        wait,
        timeoutSeconds,
        output,
      });
    });
  completes(command, { args: ["pod", "workload"], rest: true, options: { container: "container" } });
}
