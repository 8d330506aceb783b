import type { Command } from "commander";

/** What a shell can offer for a word: names of objects in the cluster, or the machine's own files. */
export type Source =
  | "checkpoint"
  | "schedule"
  | "request"
  | "restore"
  | "pod"
  /** `deploy/x`, `sts/x`, ... */
  | "workload"
  /** Of the pods that the command line names so far. */
  | "container"
  | "namespace"
  | "context"
  | "file";

/** What may stand for the arguments and the values of flags of one command. Flags with choices need nothing here. */
export interface Completions {
  /** What the arguments may be: for each place one or, as a list, several sources. */
  args?: readonly (Source | readonly Source[])[];
  /** The sources in `args` are alternatives, and may be repeated for ever. */
  rest?: boolean;
  /** By a flag's name as in its values: `--all-containers` is `allContainers`. */
  options?: Readonly<Record<string, Source>>;
}

const known = new WeakMap<Command, Completions>();

/** Says what a shell may offer for a command's arguments and flags. */
export function completes(command: Command, completions: Completions): void {
  known.set(command, completions);
}

export const completionsOf = (command: Command): Completions => known.get(command) ?? {};
