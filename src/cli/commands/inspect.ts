import { type Command, Option } from "commander";
import { type OpenFlags, openArchive } from "../archive/open.ts";
import { clusterFlagsOf } from "../cluster.ts";
import { completes } from "../completion/sources.ts";
import { errorLines } from "../errors.ts";
import { EXIT } from "../exit.ts";
import type { Part, Report } from "../inspect/report.ts";
import { type Io, printAll } from "../io.ts";
import { painter } from "../output/colour.ts";
import { type Format, show } from "../output/print.ts";
import { withRegistryFlags } from "../registry.ts";
import { examples } from "./examples.ts";
import { pidOption } from "./reading.ts";

interface InspectFlags extends OpenFlags, Partial<Record<Part, true>> {
  all?: true;
  pid?: number;
  showSecrets?: true;
  output?: Exclude<Format, "name"> | "tree";
}

export function registerInspect(program: Command, io: Io): void {
  const command = program
    .command("inspect")
    .description("what a checkpoint holds: whose it is, its size, and what is asked for")
    .argument("<checkpoints...>", "files, directories of them, checkpoint/NAME, or images by digest")
    .option("--ps", "the process tree")
    .option("--args", "... with arguments and executables")
    .option("--env", "... with the environment each process was started with")
    .option("--files", "... with open files")
    .option("--sockets", "... with open sockets")
    .option("--mounts", "what was mounted in the container")
    .option("--stats", "CRIU's statistics of the dump")
    .option("--metadata", "all annotations")
    .option("--all", "all of these")
    .addOption(pidOption("only this process and those below it (means --ps)"))
    .option("--show-secrets", "with --env: also values that look like secrets")
    .addOption(
      new Option(
        "-o, --output <format>",
        "how it is shown (default: tree, and table for several checkpoints)",
      ).choices(["tree", "table", "wide", "json", "yaml"]),
    );
  completes(command, { args: ["checkpoint", "file"], rest: true });
  withRegistryFlags(command)
    .addHelpText(
      "after",
      examples([
        ["kcr inspect checkpoint.tar", "whose checkpoint it is, and how large"],
        ["kcr inspect checkpoint/redis-0-1767225600 --all", "everything, of a Checkpoint in the cluster"],
        [
          "kcr inspect checkpoint.tar --ps --files -p 7 -o json",
          "one process and its open files, for a script",
        ],
        ["kcr inspect /var/lib/kubelet/checkpoints -o wide", "a line for each archive of a directory"],
      ]),
    )
    .action(async (named: string[], flags: InspectFlags) => {
      const [{ reportOf, PARTS }, { archivesIn }] = await Promise.all([
        import("../inspect/report.ts"),
        import("../inspect/archives.ts"),
      ]);
      const parts = new Set<Part>(PARTS.filter((part) => flags.all || flags[part]));
      if (flags.pid !== undefined) parts.add("ps");
      const archives = await archivesIn(named);
      const reports: Report[] = [];
      for (const name of archives) {
        try {
          await using archive = await openArchive(io, name, { ...flags, ...clusterFlagsOf(command) });
          reports.push(await reportOf(archive, { parts, pid: flags.pid, showSecrets: flags.showSecrets }));
        } catch (error) {
          // Of many, one that cannot be read takes the others' place no more than it must.
          if (archives.length === 1 || io.signal.aborted) throw error;
          io.stderr.write(`${errorLines(error).join("\n")}\n`);
          io.exitCode = EXIT.failed;
        }
      }
      const format = flags.output ?? (archives.length === 1 && reports.length === 1 ? "tree" : "table");
      if (format !== "tree") {
        const { summaryView } = await import("../inspect/tables.ts");
        return await show(io, format, summaryView(reports));
      }
      const [{ reportTree }, { treeLines }] = await Promise.all([
        import("../inspect/text.ts"),
        import("../inspect/tree.ts"),
      ]);
      await printAll(
        io,
        reports.flatMap((report) => treeLines([reportTree(report)], painter(io))),
      );
    });
}
