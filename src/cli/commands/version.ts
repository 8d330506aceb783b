import type { Command } from "commander";
import { type ClusterFlags, clusterFlagsOf } from "../cluster.ts";
import type { Io } from "../io.ts";
import { type Format, outputOption, show } from "../output/print.ts";
import { VERSION } from "../version.ts";
import { examples } from "./examples.ts";

export function registerVersion(program: Command, io: Io): void {
  program
    .command("version")
    .description("the versions of this program and of kcr in the cluster")
    .option("--client", "of this program only; asks no cluster")
    .addOption(outputOption(["table", "json", "yaml"]))
    .addHelpText("after", examples([["kcr version --client", "which program this is"]]))
    .action(async (flags: { client?: boolean; output: Format }, command: Command) => {
      const parts = [{ part: "client", version: VERSION }, ...(flags.client ? [] : await ofCluster(command))];
      await show(io, flags.output, {
        columns: [
          { header: "PART", value: ({ part }) => part },
          { header: "VERSION", value: ({ version }) => version },
        ],
        rows: parts,
        data: Object.fromEntries(parts.map(({ part, version }) => [part, version])),
      });
    });

  async function ofCluster(command: Command): Promise<{ part: string; version: string }[]> {
    const { clusterVersions } = await import("../about/versions.ts");
    const { connect } = await import("../cluster.ts");
    return clusterVersions(await connect(clusterFlagsOf(command) satisfies ClusterFlags), io.signal);
  }
}
