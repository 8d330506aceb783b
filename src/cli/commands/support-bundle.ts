import { stat } from "node:fs/promises";
import { basename, resolve } from "node:path";
import type { Command } from "commander";
import { clusterFlagsOf, connect } from "../cluster.ts";
import { type Io, print } from "../io.ts";
import { startProgress } from "../output/progress.ts";
import { safe } from "../output/safe.ts";
import { size } from "../output/sizes.ts";
import { examples } from "./examples.ts";

/** Of each log. */
const LOG_BYTES = 2 << 20;

export function registerSupportBundle(program: Command, io: Io): void {
  program
    .command("support-bundle")
    .description("a file with what a maintainer needs to know, without secrets and without memory")
    .option("-o, --output <file>", "where it is written (default: kcr-support-<time>.tgz)")
    .addHelpText(
      "after",
      `
In it: versions, nodes, kcr's objects and conditions, Events, settings, logs of kcr's programs, and the shape of
protected pods. Not in it: Secrets, values of environment variables, commands, contents of checkpoints.
Look at it before you hand it on: names of namespaces, workloads, images and nodes are in it.
${examples([
  ["kcr support-bundle", "collect it"],
  ["kcr support-bundle -o /tmp/kcr.tgz && tar tzf /tmp/kcr.tgz", "and see what is in it"],
])}`,
    )
    .action(async ({ output }: { output?: string }, command: Command) => {
      const { collect } = await import("../support/collect.ts");
      const { writeBundle } = await import("../support/bundle.ts");
      const connection = await connect(clusterFlagsOf(command));
      const now = new Date();
      const file = resolve(
        output ?? `kcr-support-${now.toISOString().slice(0, 19).replaceAll(":", "-")}.tgz`,
      );
      try {
        using progress = startProgress(io, "collecting");
        const items = collect(
          connection,
          { logBytes: LOG_BYTES, doing: (text) => progress.update({ text }) },
          io.signal,
        );
        const directory = basename(file).replace(/\.(tgz|tar\.gz)$/, "");
        const count = await writeBundle(file, { directory, items, now }, io.signal);
        progress[Symbol.dispose]();
        await print(io, safe(`${file}: ${count} files, ${size((await stat(file)).size)}`));
      } finally {
        connection.client.close();
      }
    });
}
