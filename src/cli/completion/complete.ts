import type { Command } from "commander";
import type { ClusterFlags } from "../cluster.ts";
import { type Io, print } from "../io.ts";
import { safe } from "../output/safe.ts";
import { planFor, type Word } from "./plan.ts";

/**
 * Answers a shell that completes a word, in the way of cobra's `__complete`, which kubectl takes from a plugin's
 * `kubectl_complete-*` too: a line per candidate, with its meaning behind a tab, then what the shell is to do.
 * Source: cobra's `ShellCompDirective`.
 */
const FILES = ":0";
const FAILED = ":1";
const NO_FILES = ":4";

export async function complete(program: Command, io: Io, words: readonly string[]): Promise<void> {
  const plan = planFor(program, words);
  const current = words.at(-1) ?? "";
  // `--output=` is part of the word that is typed.
  const [, prefix = "", stem = current] = /^(--[\w-]+=)(.*)$/s.exec(current) ?? [];
  switch (plan.type) {
    case "files":
      return print(io, FILES);
    case "words":
      return answer(plan.words);
    case "names": {
      const { namesFor } = await import("./names.ts");
      try {
        return await answer(await namesFor(plan.sources, plan.flags as ClusterFlags, plan.args, stem));
      } catch {
        // In the middle of a line nobody can be told; the command itself will say it.
        return print(io, plan.sources.includes("file") ? FILES : FAILED);
      }
    }
    default:
      return plan satisfies never;
  }

  function answer(all: readonly Word[]): Promise<void> {
    const fitting = all.filter(({ text }) => `${prefix}${text}`.startsWith(current));
    const mayBeFile = plan.type === "names" && plan.sources.includes("file");
    return print(
      io,
      ...fitting.map(({ text, description }) =>
        description ? `${prefix}${safe(text)}\t${safe(description)}` : `${prefix}${safe(text)}`,
      ),
      mayBeFile ? FILES : NO_FILES,
    );
  }
}
