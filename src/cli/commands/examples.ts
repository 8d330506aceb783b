/** The last part of a command's help: command lines, each with what it does. */
export function examples(list: readonly (readonly [command: string, what: string])[]): string {
  return `\nExamples:\n${list.map(([command, what]) => `  # ${what}\n  ${command}\n`).join("\n")}`;
}
