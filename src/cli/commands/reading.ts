import { type Command, InvalidArgumentError, Option } from "commander";
import type { CheckpointArchive } from "../../archive/checkpoint.ts";
import { type OpenFlags, openArchive } from "../archive/open.ts";
import { clusterFlagsOf } from "../cluster.ts";
import { completes } from "../completion/sources.ts";
import type { Io } from "../io.ts";
import { withRegistryFlags } from "../registry.ts";
import { examples } from "./examples.ts";

/** A command that reads one checkpoint. */
export interface Reading<Flags> {
  name: string;
  description: string;
  options: readonly Option[];
  examples: readonly (readonly [command: string, what: string])[];
  run(archive: CheckpointArchive, flags: Flags): Promise<void>;
}

/** Adds a command that reads one checkpoint, wherever it lies. */
export function registerReading<Flags>(program: Command, io: Io, reading: Reading<Flags>): void {
  const command = program
    .command(reading.name)
    .description(reading.description)
    .argument("<checkpoint>", "a file, checkpoint/NAME, or an image by digest");
  for (const option of reading.options) command.addOption(option);
  completes(command, { args: [["checkpoint", "file"]] });
  withRegistryFlags(command)
    .addHelpText("after", examples(reading.examples))
    .action(async (checkpoint: string, flags: Flags & OpenFlags) => {
      await using archive = await openArchive(io, checkpoint, { ...flags, ...clusterFlagsOf(command) });
      await reading.run(archive, flags);
    });
}

export const pidOption = (what: string): Option =>
  new Option("-p, --pid <pid>", what).argParser((text: string) => {
    if (!/^[1-9]\d{0,9}$/.test(text)) throw new InvalidArgumentError("a process is a number.");
    return Number(text);
  });
