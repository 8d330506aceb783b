import type { Command } from "commander";
import { type OpenFlags, openArchive } from "../archive/open.ts";
import { clusterFlagsOf } from "../cluster.ts";
import { completes } from "../completion/sources.ts";
import { UsageError } from "../errors.ts";
import type { Io } from "../io.ts";
import { type Format, outputOption, show } from "../output/print.ts";
import { withRegistryFlags } from "../registry.ts";
import { examples } from "./examples.ts";

export function registerFs(program: Command, io: Io): void {
  const command = program
    .command("fs")
    .description("what a container has changed in its root file system since its image")
    .argument("<checkpoint>", "a file, checkpoint/NAME, or an image by digest")
    .argument("[action]", "cat: write one changed file to stdout")
    .argument("[path]", "the file, as the container saw it")
    .addOption(outputOption());
  completes(command, { args: [["checkpoint", "file"]] });
  withRegistryFlags(command)
    .addHelpText(
      "after",
      `
Volumes are not part of it. "written" is what is new or different, "deleted" what the image has and the container
had no more, "emptied" a directory of which the image's content is gone.
${examples([
  ["kcr fs checkpoint.tar", "all changes"],
  ["kcr fs checkpoint.tar cat /data/dump.rdb >dump.rdb", "one file"],
  ["kcr fs checkpoint.tar -o name", "the paths alone"],
])}`,
    )
    .action(
      async (
        checkpoint: string,
        action: string | undefined,
        path: string | undefined,
        flags: OpenFlags & { output: Format },
      ) => {
        if (action !== undefined && action !== "cat") throw new UsageError(`${action}: fs knows "cat" only`);
        if (action === "cat" && path === undefined) throw new UsageError("cat: of which file?");
        await using archive = await openArchive(io, checkpoint, { ...flags, ...clusterFlagsOf(command) });
        if (path !== undefined) {
          const { catFile } = await import("../fs/cat.ts");
          return await catFile(io, archive, path);
        }
        const { listChanges } = await import("../fs/list.ts");
        await show(io, flags.output, await listChanges(archive, io.signal));
      },
    );
}
