import { basename } from "node:path";
import { Command, CommanderError } from "commander";
import { addClusterFlags } from "./cluster.ts";
import { GROUPS } from "./commands/index.ts";
import { errorLines, UsageError } from "./errors.ts";
import { EXIT } from "./exit.ts";
import type { Io } from "./io.ts";
import { safe, safeLines } from "./output/safe.ts";
import { VERSION } from "./version.ts";

/** How a person calls it: as a plugin of kubectl, or by itself. */
export const programName = (file: string | undefined): string =>
  /^kubectl-kcr(\.\w+)?$/.test(basename(file ?? "")) ? "kubectl kcr" : "kcr";

/** What kubectl calls to complete a plugin's words: the same file under another name will do. */
export const isCompleter = (file: string | undefined): boolean =>
  /^kubectl_complete-kcr(\.\w+)?$/.test(basename(file ?? ""));

/** The program with all its commands. */
export function createProgram(io: Io): Command {
  const program = new Command(io.program)
    .description("Checkpoint and restore for Kubernetes workloads, and a look inside checkpoints")
    .version(VERSION, "--version", "this program's version")
    .helpOption("-h, --help", "help for a command")
    .configureHelp({ subcommandTerm: (command) => command.name() })
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      // The error itself is printed by run().
      writeErr: () => {},
      getOutHelpWidth: () => io.columns ?? 100,
      getErrHelpWidth: () => io.columns ?? 100,
      getOutHasColors: () => io.colour,
    })
    .enablePositionalOptions()
    .exitOverride();
  for (const { heading, register } of GROUPS) {
    program.commandsGroup(heading);
    for (const one of register) one(program, io);
  }
  program.helpCommand(false);
  addClusterFlags(program);
  return program;
}

/** The name of the command that a line means, as far as it names one. */
function pathOf(program: Command, args: readonly string[]): string {
  let command = program;
  const path = [program.name()];
  for (const word of args) {
    const next = command.commands.find((one) => one.name() === word);
    if (next === undefined) continue;
    command = next;
    path.push(word);
  }
  return path.join(" ");
}

/** Runs one command line (without node and script), prints what goes wrong, and gives the exit code. */
export async function run(io: Io, args: readonly string[]): Promise<number> {
  const program = createProgram(io);
  try {
    if (args.length === 0) {
      program.outputHelp();
      return EXIT.done;
    }
    await program.parseAsync(args, { from: "user" });
    return io.exitCode;
  } catch (error) {
    if (io.signal.aborted) return EXIT.interrupted;
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return EXIT.done;
      io.stderr.write(`${safeLines(error.message)}\n  ${pathOf(program, args)} --help says how\n`);
      return EXIT.usage;
    }
    if (error instanceof UsageError) {
      io.stderr.write(`error: ${safe(error.message)}\n  ${pathOf(program, args)} --help says how\n`);
      return EXIT.usage;
    }
    io.stderr.write(`${errorLines(error).join("\n")}\n`);
    return EXIT.failed;
  }
}
