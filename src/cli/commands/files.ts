import { type Command, Option } from "commander";
import { several } from "../flags.ts";
import type { Io } from "../io.ts";
import { type Format, outputOption, show } from "../output/print.ts";
import { pidOption, registerReading } from "./reading.ts";

export function registerFiles(program: Command, io: Io): void {
  registerReading<{ pid?: number; kind?: string[]; output: Format }>(program, io, {
    name: "files",
    description: "what the processes in a checkpoint had open",
    options: [
      pidOption("only this process and those below it"),
      new Option("-k, --kind <kinds>", "only of these kinds: regular, pipe, inet, memfd ...").argParser(
        several,
      ),
      outputOption(),
    ],
    examples: [
      ["kcr files checkpoint.tar", "all descriptors, working directories and roots"],
      ["kcr files checkpoint.tar -p 1 -k regular -o wide", "one process's files, with positions and sizes"],
    ],
    async run(archive, { pid, kind, output }) {
      const [{ reportOf }, { fileView }] = await Promise.all([
        import("../inspect/report.ts"),
        import("../inspect/tables.ts"),
      ]);
      const { processes = [] } = await reportOf(archive, { parts: new Set(["files"]), pid });
      const files = processes.flatMap((process) => process.files ?? []);
      await show(
        io,
        output,
        fileView(files.filter((file) => kind === undefined || kind.includes(file.kind))),
      );
    },
  });
}
