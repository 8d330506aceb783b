import { Option } from "commander";
import { type Io, print, printAll } from "../io.ts";
import { painter } from "./colour.ts";
import { escapeUnsafe, isSafe, safe, safeJson } from "./safe.ts";
import { type Column, table } from "./table.ts";

export const FORMATS = ["table", "wide", "json", "yaml", "name"] as const;
export type Format = (typeof FORMATS)[number];

/** `-o`, of all formats or of those that a command has. */
export const outputOption = (formats: readonly Format[] = FORMATS): Option =>
  new Option("-o, --output <format>", "how it is shown").choices(formats).default("table");

/** Something that can be shown in each format. */
export interface View<Row> {
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  /** What -o json and -o yaml show: an API object or a list of them, or a record of a command's own. */
  data: unknown;
  /** What -o name shows of a row: `checkpoint.checkpoint-restore.kcr.io/redis-0`. */
  name?(row: Row): string;
  headers?: boolean;
  /** Shown in place of a table without rows, on stderr: `no checkpoints in namespace default`. */
  none?: string;
}

/** Shows it on stdout. */
export async function show<Row>(io: Io, format: Format, view: View<Row>): Promise<void> {
  switch (format) {
    case "json":
      return print(io, safeJson(view.data, 4));
    case "yaml":
      return print(io, (await yaml(view.data)).trimEnd());
    case "name":
      return printAll(
        io,
        view.rows.map((row) => safe(view.name?.(row) ?? "")),
      );
    case "table":
    case "wide": {
      if (view.rows.length === 0 && view.none !== undefined) {
        io.stderr.write(`${view.none}\n`);
        return;
      }
      const { columns, rows, headers } = view;
      return printAll(io, table(columns, rows, { wide: format === "wide", headers, paint: painter(io) }));
    }
    default:
      return format satisfies never;
  }
}

/** YAML in which everything that is not safe for a terminal is escaped. */
export async function yaml(data: unknown): Promise<string> {
  const { Document, Scalar, visit } = await import("yaml");
  // By way of JSON: what is undefined is left out.
  const document = new Document(JSON.parse(JSON.stringify(data) ?? "null"), { aliasDuplicateObjects: false });
  visit(document, {
    Scalar(_key, node) {
      if (typeof node.value === "string" && !isSafe(node.value)) node.type = Scalar.QUOTE_DOUBLE;
    },
  });
  return escapeUnsafe(document.toString({ lineWidth: 0 }));
}
