import { styleText } from "node:util";
import type { Progress } from "../cluster/progress.ts";

const WIDEST = 100;

/** Breaks a text into lines of at most `width` characters, at blanks. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(/\s+/).filter(Boolean)) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}

/** Rows in columns that are as wide as their widest cell; a row of its own for each. */
export function columns(rows: readonly (readonly string[])[], gap = 3): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  }
  return rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i]! + gap))
      .join("")
      .trimEnd(),
  );
}

/** A table of kubectl, less the columns that do not fit; what the first holds stays whole. */
export function narrow(table: string, width: number): string {
  const [header = "", ...rows] = table.trimEnd().split("\n");
  if ([header, ...rows].every((row) => row.length <= width)) return table;
  const starts = [...header.matchAll(/(?<=^| {2})\S/g)].map(({ index }) => index);
  const fits = (end: number) => [header, ...rows].every((row) => row.slice(0, end).trimEnd().length <= width);
  const end = starts.filter((start, i) => i === 1 || fits(start)).at(-1);
  return [header, ...rows].map((row) => row.slice(0, end).trimEnd()).join("\n");
}

export const thousands = (n: number): string => n.toLocaleString("en-US");
export const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
export const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

/**
 * Where the demo tells its story: sentences, headings, commands with what they print. Styled on a terminal, plain
 * text elsewhere. Lines go through `progress`, which keeps them apart from its own.
 */
export class Screen {
  readonly progress: Progress;
  readonly #stream: NodeJS.WriteStream;
  #headings = 0;
  /** Whether the last line was empty: there are never two in a row. */
  #blank = true;

  constructor(progress: Progress, stream: NodeJS.WriteStream = process.stdout) {
    this.progress = progress;
    this.#stream = stream;
  }

  line(text = ""): void {
    if (text === "" && this.#blank) return;
    this.#blank = text === "";
    this.progress.note(text);
  }

  lines(texts: readonly string[], indent = "  "): void {
    for (const text of texts) this.line(`${indent}${text}`.trimEnd());
  }

  heading(text: string): void {
    this.line();
    this.line(this.style("bold", `${++this.#headings}. ${text}`));
  }

  /** Sentences, broken to the terminal's width. */
  say(text: string): void {
    for (const line of wrap(text, Math.min(this.#stream.columns ?? WIDEST, WIDEST))) this.line(line);
  }

  /** A command line and what it printed. */
  command(line: string, output: string): void {
    this.line();
    this.line(`  ${this.style("cyan", `$ ${line}`)}`);
    this.lines(output.trimEnd().split("\n"));
    this.line();
  }

  /** The same of a table: on a terminal that is too narrow for it, its last columns are not shown. */
  table(line: string, output: string): void {
    this.command(line, narrow(output, (this.#stream.columns ?? Number.POSITIVE_INFINITY) - 2));
  }

  style(style: "bold" | "cyan" | "dim" | "green" | "red", text: string): string {
    return styleText(style, text, { stream: this.#stream });
  }
}
