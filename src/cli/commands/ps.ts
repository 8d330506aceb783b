import type { Command } from "commander";
import type { Io } from "../io.ts";
import { type Format, outputOption, show } from "../output/print.ts";
import { pidOption, registerReading } from "./reading.ts";

export function registerPs(program: Command, io: Io): void {
  registerReading<{ pid?: number; output: Format }>(program, io, {
    name: "ps",
    description: "the processes in a checkpoint, each below its parent",
    options: [pidOption("only this process and those below it"), outputOption()],
    examples: [
      ["kcr ps checkpoint.tar", "all processes with their arguments"],
      ["kcr ps checkpoint.tar -o wide", "with groups, sessions and executables"],
    ],
    async run(archive, { pid, output }) {
      const [{ reportOf }, { processView }] = await Promise.all([
        import("../inspect/report.ts"),
        import("../inspect/tables.ts"),
      ]);
      const { processes = [] } = await reportOf(archive, { parts: new Set(["ps", "args"]), pid });
      await show(io, output, processView(processes));
    },
  });
}
