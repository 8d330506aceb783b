import type { Command, Option } from "commander";
import { isClusterFlag } from "../src/cli/cluster.ts";
import { GROUPS } from "../src/cli/commands/index.ts";
import { createProgram } from "../src/cli/program.ts";
import { testIo } from "../src/cli/testing/io.ts";

/** The pages of docs/reference/cli by file name, made of the commands themselves. */
export function cliReference(mark: string): Map<string, string> {
  const program = createProgram(testIo({ columns: 100 }));
  const commands = program.commands.filter(isShown);
  const pages = new Map<string, string>();
  const sections = GROUPS.map(({ heading }) => {
    const rows = commands
      .filter((command) => command.helpGroup() === heading)
      .map((command) => `| [${command.name()}](${command.name()}.md) | ${cell(command.description())} |`);
    return `## ${heading.replace(/:$/, "")}\n\n| command | |\n|---|---|\n${rows.join("\n")}\n`;
  });
  pages.set(
    "README.md",
    [
      `<!-- ${mark} -->`,
      "# Commands",
      "",
      `${program.description()}. \`kubectl kcr\` and \`kcr\` are the same.`,
      "",
      ...sections,
      "## Flags of every command",
      "",
      flagTable(program.options.filter(isClusterFlag)),
      "## How it ends",
      "",
      "0: done. 1: failed; stderr says why, with one of the [codes](../errors.md). 2: the command line means nothing.",
      "3: the answer is no (`status`, `check`, `diff`, `verify` found something). 130: interrupted.",
      "",
    ].join("\n"),
  );
  for (const command of commands) pages.set(`${command.name()}.md`, pageOf(command, mark));
  return pages;
}

const isShown = (command: Command): boolean => !command.name().startsWith("__");

function pageOf(command: Command, mark: string): string {
  const parts = [`<!-- ${mark} -->`, `# kcr ${command.name()}`, "", ...bodyOf(command)];
  for (const sub of command.commands.filter(isShown)) {
    parts.push(`## kcr ${command.name()} ${sub.name()}`, "", ...bodyOf(sub));
  }
  return parts.join("\n");
}

function bodyOf(command: Command): string[] {
  const { description, path } = { description: command.description(), path: pathOf(command) };
  const args = command.registeredArguments.map((argument) => {
    const choices = argument.argChoices === undefined ? "" : ` (${argument.argChoices.join(", ")})`;
    return `| \`${argument.name()}\` | ${cell(`${argument.description}${choices}`)} |`;
  });
  const flags = command.options.filter((option) => !option.hidden && !isClusterFlag(option));
  return [
    `${description.charAt(0).toUpperCase()}${description.slice(1)}.`,
    "",
    "```text",
    `${path} ${command.usage()}`,
    "```",
    "",
    ...(args.length === 0 ? [] : ["| argument | |", "|---|---|", ...args, ""]),
    ...(flags.length === 0 ? [] : [flagTable(flags)]),
    ...afterHelp(command),
  ];
}

const pathOf = (command: Command): string =>
  command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;

function flagTable(options: readonly Option[]): string {
  const rows = options.map(({ flags, description, argChoices, defaultValue }) => {
    const more = [
      argChoices?.join(", "),
      defaultValue !== undefined &&
        typeof defaultValue !== "boolean" &&
        `default: ${JSON.stringify(defaultValue)}`,
    ].filter(Boolean);
    return `| \`${flags}\` | ${cell(`${description}${more.length > 0 ? ` (${more.join("; ")})` : ""}`)} |`;
  });
  return `| flag | |\n|---|---|\n${rows.join("\n")}\n`;
}

/** What stands behind the flags in a command's help: remarks, and examples. */
function afterHelp(command: Command): string[] {
  const io = testIo({ columns: 100 });
  command.configureOutput({ writeOut: (text) => io.stdout.write(text) });
  command.outputHelp();
  const text = io.written.out.slice(command.helpInformation().length).trim();
  const at = text.search(/^Examples:$/m);
  const remarks = (at < 0 ? text : text.slice(0, at)).trim();
  const examples =
    at < 0
      ? ""
      : text
          .slice(at + "Examples:".length)
          .replace(/^ {2}/gm, "")
          .trim();
  return [
    ...(remarks === "" ? [] : [remarks, ""]),
    ...(examples === "" ? [] : ["```text", examples, "```", ""]),
  ];
}

const cell = (text: string): string =>
  text.replaceAll("|", "\\|").replaceAll("<", "&lt;").replaceAll("\n", " ");
