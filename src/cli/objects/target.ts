import { UsageError } from "../errors.ts";
import { findKind, type NamedKind, wordOf } from "./kinds.ts";

/** An object that a command line names. */
export interface Target {
  kind: NamedKind;
  name: string;
}

/**
 * Reads names of objects as kubectl does: `deploy/x pod/y`, or one kind for all, `deploy x y`. A word without a kind
 * is of `fallback`, where there is one.
 *
 * Errors: UsageError.
 */
export function parseTargets(
  words: readonly string[],
  among: readonly NamedKind[],
  fallback?: NamedKind,
): Target[] {
  const [first = "", ...rest] = words;
  const kind = first.includes("/") ? undefined : findKind(first, among);
  if (kind !== undefined && rest.length > 0 && !rest.some((word) => word.includes("/"))) {
    return rest.map((name) => ({ kind, name }));
  }
  return words.map((word) => parseTarget(word, among, fallback));
}

/** Reads one `kind/name`. Errors: UsageError. */
export function parseTarget(word: string, among: readonly NamedKind[], fallback?: NamedKind): Target {
  const slash = word.indexOf("/");
  const known = among.map((kind) => `${wordOf(kind)}/NAME`).join(", ");
  if (slash < 0) {
    if (fallback !== undefined && word !== "") return { kind: fallback, name: word };
    throw new UsageError(`${JSON.stringify(word)} names no kind; write ${known}`);
  }
  const kind = findKind(word.slice(0, slash), among);
  const name = word.slice(slash + 1);
  if (kind === undefined || name === "" || name.includes("/")) {
    throw new UsageError(`${JSON.stringify(word)} is none of ${known}`);
  }
  return { kind, name };
}
