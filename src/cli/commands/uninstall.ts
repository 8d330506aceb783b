import type { Command } from "commander";
import { confirm } from "../ask.ts";
import { clusterFlagsOf, connect } from "../cluster.ts";
import { EXIT } from "../exit.ts";
import { patience } from "../flags.ts";
import { type Io, print } from "../io.ts";
import { startProgress } from "../output/progress.ts";
import { safe } from "../output/safe.ts";
import { examples } from "./examples.ts";

/** How long what does not come nearer is waited for. */
const PATIENCE_MS = 60_000;

interface Flags {
  yes?: boolean;
  keepData?: boolean;
  timeout: number;
}

export function registerUninstall(program: Command, io: Io): void {
  program
    .command("uninstall")
    .description("take kcr out of the cluster and off its nodes; pods that run go on running")
    .option("-y, --yes", "do not ask")
    .option("--keep-data", "leave kcr's kinds, all their objects, and the checkpoints themselves")
    .option("--timeout <seconds>", "how long the nodes may take", patience, 180)
    .addHelpText(
      "after",
      `
Ends with what it leaves, and why: a handler that running pods need stays until they have ended.
Doing it again goes on where it was.
${examples([
  ["kcr uninstall", "take everything away, checkpoints too"],
  ["kcr uninstall --keep-data", "to install another version, or to look at the checkpoints later"],
])}`,
    )
    .action(async ({ yes = false, keepData = false, timeout }: Flags, command: Command) => {
      const { count, listOf } = await import("../uninstall/step.ts");
      const { uninstall } = await import("../uninstall/uninstall.ts");
      const { checkpoints } = await import("../../api/kinds.ts");
      const { client, again } = await connect(clusterFlagsOf(command));
      try {
        const quiet = {
          client,
          signal: io.signal,
          patienceMs: PATIENCE_MS,
          doing() {},
          done() {},
          stays() {},
        };
        const amount = (await listOf(quiet, checkpoints)).length;
        const data =
          keepData || amount === 0 ? "" : `, with ${count(amount, "Checkpoint")} and all their bytes`;
        if (!yes && !(await confirm(io, `Take kcr out of ${safe(client.server)}${data}?`))) {
          io.exitCode = EXIT.failed;
          return;
        }
        const left: string[] = [];
        using progress = startProgress(io, "uninstalling");
        const ended = await uninstall(
          {
            ...quiet,
            doing: (text) => progress.update({ text }),
            done: (text) => progress.note(text),
            stays: (text) => left.push(text),
          },
          { keepData, timeoutMs: timeout * 1000 },
        );
        progress[Symbol.dispose]();
        if (ended === "nothing-there") return await print(io, "nothing of kcr is in the cluster");
        if (keepData)
          left.unshift(
            `kcr's kinds with all their objects (${count(amount, "Checkpoint")}), and /var/lib/kcr on the nodes: you asked to keep them`,
          );
        await print(
          io,
          left.length === 0 ? "nothing of kcr is left" : "What is left:",
          ...left.map((text) => `  ${safe(text)}`),
        );
        if (ended === "in-use") {
          await print(
            io,
            "",
            `Restart the workloads of those pods, then take the rest away: ${io.program} uninstall${again}`,
          );
        }
      } finally {
        client.close();
      }
    });
}
