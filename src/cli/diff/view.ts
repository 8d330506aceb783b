import { type Io, print, printAll } from "../io.ts";
import { painter, type Tone } from "../output/colour.ts";
import { safe } from "../output/safe.ts";
import { size } from "../output/sizes.ts";
import { table } from "../output/table.ts";
import type { Difference, Fields } from "./compare.ts";
import type { About, CheckpointDiff } from "./diff.ts";
import type { ProcessDiff } from "./memory.ts";

const MARKS: Readonly<Record<Difference["change"], readonly [mark: string, tone: Tone]>> = {
  added: ["+", "good"],
  removed: ["-", "bad"],
  changed: ["~", "warn"],
};

/** Prints what differs, topic by topic. */
export async function showDiff(io: Io, diff: CheckpointDiff): Promise<void> {
  const paint = painter(io);
  const { a, b, differences, memory } = diff;
  await print(io, ...headOf("A", a), ...headOf("B", b));
  if (a.containerId !== b.containerId) await print(io, paint("warn", "These are of different containers."));
  for (const [topic, list] of Object.entries(differences)) {
    if (list.length === 0) continue;
    await print(io, "", paint("bold", topic));
    for (const difference of list) {
      const [mark, tone] = MARKS[difference.change];
      await print(io, `  ${paint(tone, mark)} ${safe(difference.what)}${detailsOf(difference)}`);
    }
  }
  if (memory && memory.length > 0) await print(io, "", paint("bold", "memory"));
  for (const process of memory ?? []) await printAll(io, memoryLines(process));
  if (!diff.differ) await print(io, "", "no differences");
}

const headOf = (side: string, { archive, container, pod, checkpointed }: About): string[] => {
  const where = pod === undefined ? "" : ` of pod ${pod}`;
  const when = checkpointed === undefined ? "" : `, ${checkpointed}`;
  return [safe(`${side}  ${archive}: container ${container}${where}${when}`)];
};

function detailsOf({ change, before = {}, after = {} }: Difference): string {
  if (change !== "changed") return "";
  const fields = Object.keys(after).map((field) => {
    const from = shown(before, field);
    const to = shown(after, field);
    return `${field} ${from} -> ${to}`;
  });
  return `: ${fields.join("; ")}`;
}

function shown(fields: Fields, field: string): string {
  const value = fields[field];
  if (value === undefined) return "<none>";
  return typeof value === "string" ? safe(value) || '""' : String(value);
}

function memoryLines({ pid, name, pageSize, pages, changed, unknown, mappings }: ProcessDiff): string[] {
  const lacking = unknown === 0 ? "" : `; ${unknown} not held, in a parent`;
  const bytes = size(changed * pageSize);
  const lines = table(
    [
      { header: "", value: ({ change }) => MARKS[change][0] },
      { header: "RANGE", value: ({ start, end }) => `${start}-${end}` },
      { header: "PERM", value: ({ permissions }) => permissions },
      { header: "CHANGED", value: (row) => row.changed, align: "right" },
      { header: "PAGES", value: (row) => row.pages, align: "right" },
      { header: "NAME", value: (row) => row.name || `[${row.kind}]` },
    ],
    mappings,
  );
  const head = `  process ${pid} ${safe(name)}: ${changed} of ${pages} pages differ (${bytes}${lacking})`;
  return [head, ...lines.map((line) => `    ${line}`)];
}
