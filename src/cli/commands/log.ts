import { type Command, Option } from "commander";
import type { Io } from "../io.ts";
import { registerReading } from "./reading.ts";

export function registerLog(program: Command, io: Io): void {
  registerReading<{ container?: boolean }>(program, io, {
    name: "log",
    description: "CRIU's log of the dump, or the container's own",
    options: [new Option("--container", "the container's output up to the checkpoint")],
    examples: [
      ["kcr log checkpoint.tar", "how the dump went"],
      ["kcr log checkpoint.tar --container", "what the container had written to stdout and stderr"],
    ],
    async run(archive, { container }) {
      const { printLog } = await import("../inspect/log.ts");
      await printLog(io, archive, container ? "container" : "dump");
    },
  });
}
