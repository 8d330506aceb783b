import type { Command } from "commander";
import { clusterFlagsOf } from "../cluster.ts";
import { completes } from "../completion/sources.ts";
import type { Io } from "../io.ts";
import { examples } from "./examples.ts";

export function registerDownload(program: Command, io: Io): void {
  const command = program
    .command("download")
    .description("a Checkpoint's archive to this machine, wherever it lies")
    .argument("<checkpoint>", "NAME or checkpoint/NAME")
    .option("-o, --output <file>", "where to (default: <checkpoint>.tar)")
    .option("--force", "replace a file that is there")
    .addHelpText(
      "after",
      `
What has come is kept in <file>.part, and gone on from by the same command. It needs ClusterRole kcr-read-memory in the
Checkpoint's namespace and Role kcr-read-memory in namespace kcr-download.
${examples([
  ["kcr download shop-7d9c-1767225600", "the archive as shop-7d9c-1767225600.tar"],
  ["kcr download shop-7d9c-1767225600 -o /tmp/shop.tar --force", "into a file that may be there"],
])}`,
    )
    .action(async (checkpoint: string, flags: { output?: string; force?: boolean }, command: Command) => {
      const [{ download }, { parseTargets }, { OWN }, { connect }] = await Promise.all([
        import("../download/download.ts"),
        import("../objects/target.ts"),
        import("../objects/kinds.ts"),
        import("../cluster.ts"),
      ]);
      const [target] = parseTargets([checkpoint], [OWN.checkpoint], OWN.checkpoint);
      const connection = await connect(clusterFlagsOf(command));
      try {
        const name = target?.name ?? checkpoint;
        await download(io, connection, { checkpoint: name, file: flags.output, force: flags.force ?? false });
      } finally {
        connection.client.close();
      }
    });
  completes(command, { args: ["checkpoint"] });
}
