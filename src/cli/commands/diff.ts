import type { Command } from "commander";
import { openArchive } from "../archive/open.ts";
import { clusterFlagsOf } from "../cluster.ts";
import { completes } from "../completion/sources.ts";
import type { Topic } from "../diff/diff.ts";
import { UsageError } from "../errors.ts";
import { EXIT } from "../exit.ts";
import { several } from "../flags.ts";
import type { Io } from "../io.ts";
import { type Format, outputOption, show } from "../output/print.ts";
import { startProgress } from "../output/progress.ts";
import { type RegistryFlags, registryFlagsOf, withRegistryFlags } from "../registry.ts";
import { examples } from "./examples.ts";

interface DiffFlags extends RegistryFlags {
  only?: string[];
  showSecrets?: boolean;
  output: Format;
}

export function registerDiff(program: Command, io: Io): void {
  const command = program
    .command("diff")
    .description("what differs between two checkpoints, to the bytes of files and the pages of memory")
    .argument("<a>", "a file, checkpoint/NAME, or an image by digest")
    .argument("<b>", "another, of the same container or of one like it")
    .option("--only <topics>", "processes, files, sockets, mounts, environment, rootfs, memory", several)
    .option("--show-secrets", "show values of the environment that look like secrets")
    .addOption(outputOption(["table", "json", "yaml"]));
  completes(command, {
    args: [
      ["checkpoint", "file"],
      ["checkpoint", "file"],
    ],
  });
  withRegistryFlags(command)
    .addHelpText(
      "after",
      `
+ is only in the second, - only in the first, ~ in both and different.
Exit code 3: they differ.
${examples([
  ["kcr diff before.tar after.tar", "all that differs"],
  [
    "kcr diff checkpoint/redis-1 checkpoint/redis-2 --only rootfs,processes -o json",
    "some of it, for a script",
  ],
])}`,
    )
    .action(async (first: string, second: string, flags: DiffFlags) => {
      const { diffCheckpoints, TOPICS } = await import("../diff/diff.ts");
      const { only, showSecrets = false, output } = flags;
      const strange = only?.find((topic) => !(TOPICS as readonly string[]).includes(topic));
      if (strange !== undefined) throw new UsageError(`--only ${strange}: it is one of ${TOPICS.join(", ")}`);
      const topics = new Set((only ?? TOPICS) as readonly Topic[]);
      const place = { ...registryFlagsOf(flags), ...clusterFlagsOf(command) };
      await using a = await openArchive(io, first, place);
      await using b = await openArchive(io, second, place);
      using progress = startProgress(io, "comparing");
      const onProgress = (done: number) => progress.update({ text: "memory", done });
      const diff = await diffCheckpoints(a, b, { topics, showSecrets, signal: io.signal, onProgress });
      if (diff.differ) io.exitCode = EXIT.no;
      progress[Symbol.dispose]();
      if (output !== "table") return await show(io, output, { columns: [], rows: [], data: diff });
      const { showDiff } = await import("../diff/view.ts");
      await showDiff(io, diff);
    });
}
