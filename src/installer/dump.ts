/**
 * What `containerd config dump` prints (and `crio status config`): TOML as go-toml's encoder writes it, one line for
 * each key and one for each table. Only that is read here, not TOML at large.
 */
export interface Dump {
  /** Of the configuration's format: 2 is containerd 1.x, 3 and later containerd 2. */
  version: number;
  /** Table -> key -> value as it is written. A table's name is its keys, each quoted as JSON does, with dots. */
  tables: Map<string, Map<string, string>>;
}

export function parseDump(text: string): Dump {
  const tables = new Map<string, Map<string, string>>();
  let table = new Map<string, string>();
  tables.set("", table);
  let inArray = 0;
  for (const line of text.split("\n").map((line) => line.trim())) {
    const header = /^\[(\[?)(.+?)\]?\]$/.exec(line);
    if (header) {
      // Of an array of tables each one is its own.
      inArray += header[1] ? 1 : 0;
      const name = tableName(...keysOf(header[2]!)) + (header[1] ? `#${inArray}` : "");
      table = tables.get(name) ?? new Map();
      tables.set(name, table);
      continue;
    }
    const at = line.indexOf("=");
    if (at > 0) table.set(keysOf(line.slice(0, at).trim())[0] ?? "", line.slice(at + 1).trim());
    else if (line !== "") table.set(line, "");
  }
  return { version: Number(tables.get("")?.get("version") ?? 0), tables };
}

/** The name under which a table is kept. */
export const tableName = (...keys: readonly string[]): string =>
  keys.map((key) => JSON.stringify(key)).join(".");

function keysOf(dotted: string): string[] {
  return [...dotted.matchAll(/'([^']*)'|"((?:[^"\\]|\\.)*)"|([^.\s'"]+)/g)].map(
    ([, literal, basic, bare]) => literal ?? basic ?? bare ?? "",
  );
}

/** The text of a string value; undefined for a value that is none. */
export function stringOf(value: string | undefined): string | undefined {
  if (value === undefined) return undefined;
  if (/^'[^']*'$/.test(value)) return value.slice(1, -1);
  if (!/^".*"$/.test(value)) return undefined;
  try {
    return JSON.parse(value) as string;
  } catch {
    return undefined;
  }
}

/** The texts of an array of strings on one line; undefined for anything else. */
export function stringsOf(value: string): string[] | undefined {
  const inner = /^\[(.*)\]$/.exec(value.trim())?.[1];
  if (inner === undefined) return undefined;
  const pattern = /\s*('[^']*'|"(?:[^"\\]|\\.)*")\s*(,|$)/y;
  const found: string[] = [];
  while (pattern.lastIndex < inner.length) {
    if (inner.slice(pattern.lastIndex).trim() === "") break;
    const one = stringOf(pattern.exec(inner)?.[1]);
    if (one === undefined) return undefined;
    found.push(one);
  }
  return found;
}

/** Where two configurations differ, apart from what `ignored` says: `<table>: <key>`, for people. */
export function differences(
  before: Dump,
  after: Dump,
  ignored: (table: string, key: string) => boolean,
): string[] {
  const lines = ({ tables }: Dump) =>
    new Map(
      [...tables].flatMap(([table, entries]) =>
        [...entries].flatMap(([key, value]): [string, string][] =>
          ignored(table, key) ? [] : [[`${table.replaceAll('"', "'")}: ${key}`, value]],
        ),
      ),
    );
  const [was, is] = [lines(before), lines(after)];
  return [...new Set([...was.keys(), ...is.keys()])].filter((line) => was.get(line) !== is.get(line)).sort();
}
