/** What is told of one thing; only fields that are there count. */
export type Fields = Readonly<Record<string, string | number | boolean | undefined>>;

/** One thing of a checkpoint, by what it is known again in another one. */
export interface Item {
  key: readonly (string | number)[];
  /** What it is called; default its key. */
  label?: string;
  fields: Fields;
}

/** How one thing differs. `before` and `after` of a change hold only the fields that do. */
export interface Difference {
  change: "added" | "removed" | "changed";
  what: string;
  before?: Fields;
  after?: Fields;
}

/** Compares two lists of things; the result is in the order of the keys, whatever theirs was. */
export function compareItems(before: Iterable<Item>, after: Iterable<Item>): Difference[] {
  const old = byKey(before);
  const now = byKey(after);
  const keys = new Map([...old.entries(), ...now.entries()].map(([id, { key }]) => [id, key]));
  const differences: Difference[] = [];
  for (const [id] of [...keys].sort(([, a], [, b]) => compareKeys(a, b))) {
    const difference = compareItem(old.get(id), now.get(id));
    if (difference !== undefined) differences.push(difference);
  }
  return differences;
}

const byKey = (items: Iterable<Item>): Map<string, Item> =>
  new Map([...items].map((item) => [JSON.stringify(item.key), item]));

function compareItem(old: Item | undefined, now: Item | undefined): Difference | undefined {
  const item = now ?? old!;
  const what = item.label ?? item.key.join("/");
  if (old === undefined) return { change: "added", what, after: item.fields };
  if (now === undefined) return { change: "removed", what, before: item.fields };
  const fields = Object.keys({ ...old.fields, ...now.fields });
  const differing = fields.filter((field) => old.fields[field] !== now.fields[field]);
  if (differing.length === 0) return undefined;
  const only = (all: Fields): Fields => Object.fromEntries(differing.map((field) => [field, all[field]]));
  return { change: "changed", what, before: only(old.fields), after: only(now.fields) };
}

/** Numbers by their size and before text, text by its code units. */
function compareKeys(a: Item["key"], b: Item["key"]): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const [x, y] = [a[i]!, b[i]!];
    if (x === y) continue;
    if (typeof x === typeof y) return x < y ? -1 : 1;
    return typeof x === "number" ? -1 : 1;
  }
  return a.length - b.length;
}
