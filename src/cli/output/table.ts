import type { Paint, Tone } from "./colour.ts";
import { safe } from "./safe.ts";
import { displayWidth } from "./width.ts";

/** A column of a table, in the manner of kubectl. */
export interface Column<Row> {
  header: string;
  /** Made safe for terminals here; undefined and "" are shown as `<none>`. */
  value(row: Row): string | number | undefined;
  /** Shown with `-o wide` only. */
  wide?: boolean;
  align?: "right";
  tone?(row: Row): Tone | undefined;
}

export interface TableOptions {
  wide?: boolean;
  headers?: boolean;
  paint?: Paint;
}

const GAP = "   ";

/** Lines of a table: columns three spaces apart, nothing wrapped or cut, no blanks at the ends of lines. */
export function table<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  { wide = false, headers = true, paint = (_, text) => text }: TableOptions = {},
): string[] {
  const shown = columns.filter((column) => wide || !column.wide);
  const cells = rows.map((row) => shown.map((column) => textOf(column.value(row))));
  const widths = shown.map(({ header }, at) =>
    cells.reduce((most, line) => Math.max(most, displayWidth(line[at]!)), headers ? header.length : 0),
  );
  const line = (texts: readonly string[], tones: readonly (Tone | undefined)[] = []): string =>
    texts
      .map((text, at) => {
        const fill = " ".repeat(Math.max(0, widths[at]! - displayWidth(text)));
        const painted = paint(tones[at], text);
        if (shown[at]!.align === "right") return fill + painted;
        return at === texts.length - 1 ? painted : painted + fill;
      })
      .join(GAP);
  return [
    ...(headers ? [line(shown.map((column) => column.header))] : []),
    ...cells.map((texts, row) =>
      line(
        texts,
        shown.map((column) => column.tone?.(rows[row]!)),
      ),
    ),
  ].map((text) => text.trimEnd());
}

const textOf = (value: string | number | undefined): string =>
  value === undefined || value === "" ? "<none>" : safe(String(value));
