import { type Command, Option } from "commander";
import type { Io } from "../io.ts";
import { type Format, outputOption, show } from "../output/print.ts";
import { pidOption, registerReading } from "./reading.ts";

export function registerEnv(program: Command, io: Io): void {
  registerReading<{ pid?: number; showSecrets?: boolean; output: Format }>(program, io, {
    name: "env",
    description: "the environment that the processes in a checkpoint were started with",
    options: [
      pidOption("only this process and those below it"),
      new Option("--show-secrets", "also values that look like secrets"),
      outputOption(),
    ],
    examples: [
      ["kcr env checkpoint.tar", "all variables; values that look like secrets are not shown"],
      ["kcr env checkpoint.tar -p 1 --show-secrets -o json", "all of one process's, for a script"],
    ],
    async run(archive, { pid, showSecrets, output }) {
      const [{ reportOf }, { variableView }] = await Promise.all([
        import("../inspect/report.ts"),
        import("../inspect/tables.ts"),
      ]);
      const { processes = [] } = await reportOf(archive, { parts: new Set(["env"]), pid, showSecrets });
      const rows = processes.flatMap(({ pid, name, environment = [] }) =>
        environment.map((variable) => ({ pid, process: name, ...variable })),
      );
      await show(io, output, variableView(rows));
    },
  });
}
