import { stringsOf } from "./dump.ts";

/** What became of the text of a main configuration that is to import one more pattern, or no longer. */
export type Edit = { type: "edited"; text: string } | { type: "refused"; why: string };

const MARK = "# by kcr-installer";
const BEFORE = "; before: ";

/**
 * Has containerd's main configuration import `pattern` too. An absent file is the empty text.
 *
 * Understood are a configuration without `imports` and one where it is an array on one line; anything else is refused.
 */
export function addImport(text: string, pattern: string): Edit {
  const line = `imports = [${JSON.stringify(pattern)}] ${MARK}`;
  if (text.trim() === "") return { type: "edited", text: `version = 3\n${line}\n` };
  const found = findImports(text);
  // The first line of a file is in no table, whatever follows.
  if (found === undefined) return { type: "edited", text: `${line}\n${text}` };
  const [, array, comment = ""] = /^\s*imports\s*=\s*(\[.*\])\s*(#.*)?$/.exec(found) ?? [];
  const patterns = array === undefined ? undefined : stringsOf(array);
  if (patterns === undefined || comment !== "") {
    return {
      type: "refused",
      why: `the line ${JSON.stringify(found.trim())} is not understood: add ${JSON.stringify(pattern)} to imports by hand`,
    };
  }
  return { type: "edited", text: text.replace(found, () => extended(found, patterns, pattern)) };
}

/** Undoes {@link addImport}, if the line is as that left it; the text as it is where there is nothing to undo. */
export function removeImport(text: string, pattern: string): Edit {
  const found = findImports(text);
  const at = found?.indexOf(MARK) ?? -1;
  if (found === undefined || at < 0) return { type: "edited", text };
  const line = `imports = [${JSON.stringify(pattern)}] ${MARK}`;
  if (found === line) {
    if (text === `version = 3\n${line}\n`) return { type: "edited", text: "" };
    return { type: "edited", text: text.replace(`${line}\n`, "") };
  }
  const before = found.slice(at + MARK.length + BEFORE.length);
  const patterns = stringsOf(/\[.*\]/.exec(before)?.[0] ?? "");
  if (patterns && extended(before, patterns, pattern) === found) {
    return { type: "edited", text: text.replace(found, () => before) };
  }
  return {
    type: "refused",
    why: `the line ${JSON.stringify(found)} was changed since: take ${JSON.stringify(pattern)} out by hand`,
  };
}

const extended = (line: string, patterns: readonly string[], pattern: string): string =>
  `imports = [${[...patterns, pattern].map((one) => JSON.stringify(one)).join(", ")}] ${MARK}${BEFORE}${line}`;

/** The line where the top level's `imports` begins. */
function findImports(text: string): string | undefined {
  const lines = text.split("\n");
  const end = lines.findIndex((line) => /^\s*\[/.test(line));
  return lines.slice(0, end < 0 ? undefined : end).find((line) => /^\s*["']?imports["']?\s*=/.test(line));
}
