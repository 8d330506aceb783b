import type { Command, Option } from "commander";
import { isClusterFlag } from "../cluster.ts";
import { completionsOf, type Source } from "./sources.ts";

/** What stands where the cursor is. */
export type Plan =
  /** Words that are known without asking anybody, each perhaps with what it means. */
  | { type: "words"; words: readonly Word[] }
  /** Names to be looked up, with the flags and arguments that were typed so far. */
  | {
      type: "names";
      sources: readonly Source[];
      flags: Readonly<Record<string, string>>;
      args: readonly string[];
    }
  /** The shell's own completion of file names. */
  | { type: "files" };

export interface Word {
  text: string;
  description?: string;
}

/**
 * What may stand in place of the last word of a command line (the words behind the program's name; the last is the
 * one being typed, perhaps empty).
 */
export function planFor(program: Command, words: readonly string[]): Plan {
  const typed = words.slice(0, -1);
  const current = words.at(-1) ?? "";
  const { command, args, flags, awaiting, ended } = walk(program, typed);
  if (awaiting !== undefined) return valuesOf(command, awaiting, flags, args);
  if (!ended && current.startsWith("-")) {
    const equals = current.indexOf("=");
    if (equals < 0) return { type: "words", words: flagWords(command) };
    const option = optionOf(command, current.slice(0, equals));
    return option === undefined ? nothing : valuesOf(command, option, flags, args);
  }
  if (command.commands.length > 0) return { type: "words", words: commandWords(command) };
  const choices = command.registeredArguments[args.length]?.argChoices;
  if (choices !== undefined) return { type: "words", words: choices.map((text) => ({ text })) };
  const { args: sources = [], rest = false } = completionsOf(command);
  const place = rest ? sources : sources[args.length];
  const wanted = (place === undefined ? [] : [place].flat(2)) as Source[];
  if (wanted.includes("file") && wanted.length === 1) return { type: "files" };
  return wanted.length === 0 ? nothing : { type: "names", sources: wanted, flags, args };
}

const nothing: Plan = { type: "words", words: [] };

interface Walked {
  command: Command;
  args: string[];
  flags: Record<string, string>;
  /** The flag whose value comes next. */
  awaiting?: Option;
  /** Behind `--`. */
  ended: boolean;
}

function walk(program: Command, words: readonly string[]): Walked {
  const walked: Walked = { command: program, args: [], flags: {}, ended: false };
  for (const word of words) {
    const { awaiting, command } = walked;
    if (awaiting !== undefined) {
      walked.flags[awaiting.attributeName()] = word;
      walked.awaiting = undefined;
    } else if (word === "--") {
      walked.ended = true;
    } else if (!walked.ended && word.startsWith("-") && word !== "-") {
      const [name = "", value] = word.split(/=(.*)/s);
      const option = optionOf(command, name);
      if (option === undefined || (!option.required && !option.optional)) continue;
      if (value !== undefined) walked.flags[option.attributeName()] = value;
      else walked.awaiting = option;
    } else {
      const sub = command.commands.find((one) => one.name() === word || one.aliases().includes(word));
      if (sub === undefined) walked.args.push(word);
      else walked.command = sub;
    }
  }
  return walked;
}

const optionOf = (command: Command, name: string): Option | undefined =>
  command.options.find((option) => option.long === name || option.short === name);

function valuesOf(
  command: Command,
  option: Option,
  flags: Readonly<Record<string, string>>,
  args: readonly string[],
): Plan {
  if (option.argChoices !== undefined) {
    return { type: "words", words: option.argChoices.map((text) => ({ text })) };
  }
  const name = option.attributeName();
  const source = isClusterFlag(option) ? CLUSTER[name] : completionsOf(command).options?.[name];
  if (source === undefined) return nothing;
  return source === "file" ? { type: "files" } : { type: "names", sources: [source], flags, args };
}

const CLUSTER: Readonly<Record<string, Source>> = {
  namespace: "namespace",
  context: "context",
  kubeconfig: "file",
};

const flagWords = (command: Command): Word[] =>
  command.options
    .filter(({ hidden, long }) => !hidden && long !== undefined)
    .map(({ long, description }) => ({ text: long!, description }));

const commandWords = (command: Command): Word[] =>
  command.commands
    .filter((one) => !one.name().startsWith("__"))
    .map((one) => ({ text: one.name(), description: one.description() }));
