import { stripVTControlCharacters } from "node:util";
import { describe, expect, it } from "vitest";
import { testIo } from "../testing/io.ts";
import { painter } from "./colour.ts";
import { show } from "./print.ts";
import { type Column, table } from "./table.ts";

interface Row {
  name: string;
  bytes?: number;
  node?: string;
}

const columns: Column<Row>[] = [
  { header: "NAME", value: ({ name }) => name, tone: ({ name }) => (name === "bad" ? "bad" : undefined) },
  { header: "BYTES", value: ({ bytes }) => bytes, align: "right" },
  { header: "NODE", value: ({ node }) => node, wide: true },
];
const rows: Row[] = [
  { name: "a", bytes: 5, node: "worker-1" },
  { name: "日本-long", bytes: 12_345 },
  { name: "bad" },
];

describe("a table", () => {
  it("has its columns three spaces apart, wide characters counted twice", () => {
    expect(table(columns, rows)).toEqual([
      "NAME         BYTES",
      "a                5",
      "日本-long    12345",
      "bad         <none>",
    ]);
  });

  it("shows more when it may be wide, and headers unless told not to", () => {
    expect(table(columns, rows.slice(0, 1), { wide: true, headers: false })).toEqual(["a   5   worker-1"]);
  });

  it("looks the same in colours", () => {
    const coloured = table(columns, rows, { paint: painter({ colour: true }) });
    expect(coloured[3]).toContain("\x1b[31mbad\x1b[39m");
    expect(coloured.map(stripVTControlCharacters)).toEqual(table(columns, rows));
  });

  it("shows what is in hostile text, on one line", () => {
    expect(table(columns, [{ name: "\x1b[2Jx\ny" }], { headers: false })).toEqual(["\\x1b[2Jx\\ny   <none>"]);
  });
});

describe("what is shown", () => {
  const view = {
    columns,
    rows,
    data: { items: rows },
    name: ({ name }: Row) => `row/${name}`,
    none: "no rows",
  };

  it.each([
    ["name", "row/a\nrow/日本-long\nrow/bad\n"],
    ["json", `${JSON.stringify({ items: rows }, null, 4)}\n`],
    [
      "wide",
      "NAME         BYTES   NODE\na                5   worker-1\n日本-long    12345   <none>\nbad         <none>   <none>\n",
    ],
  ] as const)("as %s", async (format, text) => {
    const io = testIo();
    await show(io, format, view);
    expect(io.written).toEqual({ out: text, err: "" });
  });

  it("as yaml", async () => {
    const io = testIo();
    await show(io, "yaml", { ...view, data: { name: "x", gone: undefined, text: "a\x1bb" } });
    expect(io.written.out).toBe('name: x\ntext: "a\\eb"\n');
  });

  it("is a word on stderr when there is nothing", async () => {
    const io = testIo();
    await show(io, "table", { ...view, rows: [] });
    expect(io.written).toEqual({ out: "", err: "no rows\n" });
  });
});

it.each(["table", "name"] as const)("as many rows as a hostile archive has are shown: %s", async (format) => {
  const io = testIo();
  const many = Array.from({ length: 200_000 }, (_, n) => ({ name: `${n}` }));
  await show(io, format, { columns: columns.slice(0, 1), rows: many, data: [], name: ({ name }) => name });
  expect(io.written.out.endsWith("199998\n199999\n")).toBe(true);
});
