import type { Condition } from "../../api/common.ts";
import { age } from "../output/age.ts";
import type { Paint } from "../output/colour.ts";
import { safe } from "../output/safe.ts";
import { table } from "../output/table.ts";
import type { Happened } from "./events.ts";

/** `Name:  value` lines under each other; values that are not there are left out. Values are made safe. */
export function fields(
  pairs: readonly (readonly [name: string, value: string | number | undefined])[],
): string[] {
  const shown = pairs.filter(([, value]) => value !== undefined && value !== "");
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${`${name}:`.padEnd(width + 3)}${safe(String(value))}`);
}

const indented = (lines: readonly string[]): string[] => lines.map((line) => `  ${line}`);

/** A heading and what stands under it; `<none>` where that is nothing. */
export const section = (heading: string, lines: readonly string[], paint: Paint): string[] => [
  "",
  paint("bold", `${heading}:`),
  ...(lines.length > 0 ? indented(lines) : ["  <none>"]),
];

/** Conditions, with the messages that tables of kubectl leave out. */
export const conditionLines = (conditions: readonly Condition[], paint: Paint): string[] =>
  table(
    [
      { header: "TYPE", value: (c: Condition) => c.type },
      {
        header: "STATUS",
        value: (c) => c.status,
        // Poisoned is the one that is not good when it is true.
        tone: (c) =>
          c.status === "Unknown"
            ? "warn"
            : (c.status === "True") !== (c.type === "Poisoned")
              ? "good"
              : "bad",
      },
      { header: "REASON", value: (c) => c.reason },
      { header: "SINCE", value: (c) => age(c.lastTransitionTime) },
      { header: "MESSAGE", value: (c) => c.message },
    ],
    conditions,
    { paint },
  );

export function eventLines(events: readonly Happened[] | undefined, paint: Paint): string[] {
  if (events === undefined) return ["(this account may not list them)"];
  if (events.length === 0) return [];
  return table(
    [
      {
        header: "TYPE",
        value: (e: Happened) => e.type,
        tone: (e) => (e.type === "Warning" ? "warn" : undefined),
      },
      { header: "REASON", value: (e) => e.reason },
      { header: "AGE", value: (e) => `${age(e.time) ?? "?"}${e.count > 1 ? ` (x${e.count})` : ""}` },
      { header: "MESSAGE", value: (e) => e.message },
    ],
    events,
    { paint },
  );
}
