/**
 * Options of CRIU's that a pod may ask for, by its annotation `kcr.io/criu-options`. They are few: what weakens a
 * checkpoint, or reaches out of its container, is not for a pod to say.
 */
export type CriuOption = { name: Switch } | { name: "ghost-limit"; bytes: number };

export type Switch = "tcp-established" | "tcp-close" | "skip-in-flight" | "file-locks" | "ext-unix-sk";

/**
 * How each is said. runc sets all that it has a flag for, so that a file does not change it: those are flags of its
 * `checkpoint`, and of its `restore` where that has them too (runc 1.5: checkpoint.go, restore.go). The others stand in
 * a configuration file of CRIU's (criu/config.c).
 */
const WAYS: Readonly<Record<CriuOption["name"], { dump?: string; restore?: string }>> = {
  "tcp-established": { dump: "--tcp-established", restore: "--tcp-established" },
  "tcp-close": {},
  "skip-in-flight": { dump: "--tcp-skip-in-flight" },
  "file-locks": { dump: "--file-locks", restore: "--file-locks" },
  "ext-unix-sk": { dump: "--ext-unix-sk", restore: "--ext-unix-sk" },
  "ghost-limit": {},
};
const NAMES = Object.keys(WAYS) as CriuOption["name"][];

/** Of the files that are saved though they are deleted: they are part of what is copied while the container waits. */
const MAX_GHOST = 2 ** 30;
/** Longest text that is looked at. */
const MAX_TEXT = 512;

const UNITS: Readonly<Record<string, number>> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };
const SIZE = /^([1-9][0-9]{0,11})(?:([KMG])i?)?$/;

export type ParsedOptions =
  | { type: "options"; options: readonly CriuOption[] }
  /** A sentence: which option, and what is allowed. */
  | { type: "refused"; why: string };

/** What stands in an annotation: options, separated by commas or white space. The same one twice counts once. */
export function parseCriuOptions(text: string): ParsedOptions {
  const refused = (why: string): ParsedOptions => ({
    type: "refused",
    why: `${why}; allowed are ${NAMES.map((name) => (name === "ghost-limit" ? `${name}=<size>` : name)).join(", ")}`,
  });
  if (text.length > MAX_TEXT) return refused(`more than ${MAX_TEXT} characters`);
  const found = new Map<string, CriuOption>();
  for (const word of text.split(/[\s,]+/)) {
    if (word === "") continue;
    const [name = "", value, ...more] = word.split("=");
    if (!isName(name)) return refused(`${JSON.stringify(word)} is not allowed`);
    if (found.has(name) && name === "ghost-limit") return refused("ghost-limit stands there twice");
    if (name !== "ghost-limit") {
      if (value !== undefined) return refused(`${name} has no value, and not ${JSON.stringify(value)}`);
      found.set(name, { name });
      continue;
    }
    const bytes = more.length === 0 ? bytesOf(value ?? "") : undefined;
    if (bytes === undefined) {
      return refused(`${JSON.stringify(word)} gives no size up to 1Gi, such as 64Mi`);
    }
    found.set(name, { name, bytes });
  }
  if (found.has("tcp-established") && found.has("tcp-close")) {
    return refused("tcp-established and tcp-close exclude each other");
  }
  return { type: "options", options: NAMES.flatMap((name) => found.get(name) ?? []) };
}

const isName = (name: string): name is CriuOption["name"] => Object.hasOwn(WAYS, name);

function bytesOf(text: string): number | undefined {
  const [, number, unit = ""] = SIZE.exec(text) ?? [];
  const bytes = Number(number) * (UNITS[unit] ?? Number.NaN);
  return bytes <= MAX_GHOST ? bytes : undefined;
}

/** As it may stand in an annotation: `file-locks ghost-limit=67108864`. */
export const formatCriuOptions = (options: readonly CriuOption[]): string =>
  options.map((one) => (one.name === "ghost-limit" ? `${one.name}=${one.bytes}` : one.name)).join(" ");

/** Flags for the runtime's `checkpoint`. */
export const dumpFlags = (options: readonly CriuOption[]): string[] =>
  options.flatMap(({ name }) => WAYS[name].dump ?? []);

/** Flags for its `restore` of what was dumped with them. */
export const restoreFlags = (options: readonly CriuOption[]): string[] =>
  options.flatMap(({ name }) => WAYS[name].restore ?? []);

/** Those without which a restore fails, or is not of all that was saved. */
export const neededAtRestore = (options: readonly CriuOption[]): CriuOption[] =>
  options.filter(({ name }) => name === "tcp-close" || WAYS[name].restore !== undefined);

const HEAD = "# options: ";

/**
 * A configuration file of CRIU's, for `CRIU_CONFIG_FILE`, that says all of it: what only a file can say as CRIU reads
 * it; in comments, a line each, the options, and flags for the runtime's `checkpoint`, which kcr-runtime.c and
 * kcr-dump.c look for.
 */
export function criuConfig(options: readonly CriuOption[]): string {
  const lines = options.flatMap((one) => {
    if (one.name === "ghost-limit") return [`ghost-limit ${one.bytes}`];
    return WAYS[one.name].dump === undefined ? [one.name] : [];
  });
  const comments = [HEAD + formatCriuOptions(options), ...dumpFlags(options).map((flag) => `# ${flag}`)];
  return [...comments, ...lines, ""].join("\n");
}

/** The options in a file that {@link criuConfig} made; undefined for another's. */
export function readCriuConfig(text: string): readonly CriuOption[] | undefined {
  const [first = ""] = text.split("\n", 1);
  if (!first.startsWith(HEAD)) return undefined;
  const parsed = parseCriuOptions(first.slice(HEAD.length));
  return parsed.type === "options" ? parsed.options : undefined;
}
