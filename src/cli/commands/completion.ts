import { Argument, type Command } from "commander";
import { SCRIPTS, SHELLS, type Shell } from "../completion/scripts.ts";
import { type Io, write } from "../io.ts";
import { examples } from "./examples.ts";

export function registerCompletion(program: Command, io: Io): void {
  program
    .command("completion")
    .description("a script that lets a shell complete commands, flags and names of objects")
    .addArgument(new Argument("<shell>", "for whom").choices(SHELLS))
    .addHelpText(
      "after",
      examples([
        ["source <(kcr completion bash)", "in bash; for ever: the same line in ~/.bashrc"],
        ["source <(kcr completion zsh)", "in zsh"],
        ["kcr completion fish | source", "in fish"],
        [
          "kcr completion kubectl >/usr/local/bin/kubectl_complete-kcr && chmod +x /usr/local/bin/kubectl_complete-kcr",
          "for kubectl kcr, in every shell that completes kubectl",
        ],
      ]),
    )
    .action((shell: Shell) => write(io.stdout, SCRIPTS[shell]));

  program
    .command("__complete", { hidden: true })
    .argument("[words...]")
    .allowUnknownOption()
    .helpOption(false)
    .action(async () => {
      const { complete } = await import("../completion/complete.ts");
      // As they were typed: this program's own flags are among them.
      const { rawArgs } = program as unknown as { rawArgs: string[] };
      await complete(program, io, rawArgs.slice(rawArgs.indexOf("__complete") + 1));
    });
}
