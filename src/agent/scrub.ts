import type { LocalStore } from "./store/store.ts";

/** What a scrub has found. */
export interface Scrubbed {
  /** How many copies were read. */
  checked: number;
  corrupt: { copy: string; problems: string[] }[];
}

/**
 * Reads every copy of a store and marks those that are damaged: they are not used from then on, and the agent makes
 * them anew. May run beside the agent.
 *
 * Errors: those of the file system; the signal's reason.
 */
export async function scrub(store: LocalStore, signal: AbortSignal): Promise<Scrubbed> {
  const found: Scrubbed = { checked: 0, corrupt: [] };
  for (const { digest: copy } of await store.list()) {
    const problems = await scrubOne(store, copy, signal);
    found.checked += 1;
    if (problems.length > 0) found.corrupt.push({ copy, problems });
  }
  return found;
}

/** The same of one copy: what is wrong with it, a sentence each. */
export async function scrubOne(store: LocalStore, copy: string, signal: AbortSignal): Promise<string[]> {
  const problems = await store.verify(copy, signal);
  if (problems.length > 0) await store.markCorrupt(copy, problems.join("\n"));
  return problems;
}
