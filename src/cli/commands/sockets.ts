import type { Command } from "commander";
import type { Io } from "../io.ts";
import { type Format, outputOption, show } from "../output/print.ts";
import { pidOption, registerReading } from "./reading.ts";

export function registerSockets(program: Command, io: Io): void {
  registerReading<{ pid?: number; output: Format }>(program, io, {
    name: "sockets",
    description: "the sockets that the processes in a checkpoint had open",
    options: [pidOption("only this process and those below it"), outputOption()],
    examples: [
      ["kcr sockets checkpoint.tar", "all sockets"],
      ["kcr sockets checkpoint.tar -o wide", "with the sizes of their buffers"],
    ],
    async run(archive, { pid, output }) {
      const [{ reportOf }, { socketView }] = await Promise.all([
        import("../inspect/report.ts"),
        import("../inspect/tables.ts"),
      ]);
      const { processes = [] } = await reportOf(archive, { parts: new Set(["sockets"]), pid });
      await show(io, output, socketView(processes.flatMap(({ sockets }) => sockets ?? [])));
    },
  });
}
