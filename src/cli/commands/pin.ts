import type { Command } from "commander";
import { clusterFlagsOf, connect } from "../cluster.ts";
import { completes } from "../completion/sources.ts";
import { type Io, print } from "../io.ts";
import { safe } from "../output/safe.ts";
import { examples } from "./examples.ts";

export function registerPin(program: Command, io: Io): void {
  for (const [name, pinned, description] of [
    ["pin", true, "keep checkpoints though their workload, schedule or request goes"],
    ["unpin", false, "let checkpoints go again with what they were made for"],
  ] as const) {
    const command = program
      .command(name)
      .description(description)
      .argument("<checkpoint...>", "NAME or checkpoint/NAME")
      .addHelpText("after", examples([[`kcr ${name} redis-0-shop-1767225600`, description]]))
      .action(async (words: string[], _flags: object, command: Command) => {
        const [{ setPinned }, { parseTargets }, { OWN }] = await Promise.all([
          import("../pin/command.ts"),
          import("../objects/target.ts"),
          import("../objects/kinds.ts"),
        ]);
        const targets = parseTargets(words, [OWN.checkpoint], OWN.checkpoint);
        const connection = await connect(clusterFlagsOf(command));
        for (const target of targets) {
          const { changed } = await setPinned(connection, target.name, pinned, io.signal);
          await print(io, `checkpoint/${safe(target.name)} ${changed ? "" : "is already "}${name}ned`);
        }
      });
    completes(command, { args: ["checkpoint"], rest: true });
  }
}
