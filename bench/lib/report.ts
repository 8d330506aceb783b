import { cpus, release, totalmem } from "node:os";

/** What a benchmark found; also the content of its `--json` file. */
export interface Report {
  bench: string;
  machine: Machine;
  /** How often what is compared was run; figures are medians of these. */
  runs: number;
  figures: Record<string, Figure>;
  /** The figures side by side, where people read that more easily than one below the other. */
  grid?: Grid;
  ratios: Ratio[];
}

/** A table: titles of the columns, and rows with a cell for each. */
export interface Grid {
  head: readonly string[];
  body: readonly (readonly string[])[];
}

export interface Figure {
  value: number;
  unit: string;
}

/** Something with a target; it holds or it does not. */
export interface Ratio {
  name: string;
  value: number;
  target: number;
  holds: boolean;
}

export interface Machine {
  cpu: string;
  cores: number;
  memoryMiB: number;
  kernel: string;
  node: string;
}

/** What every benchmark is given. */
export interface BenchArgs {
  /** How often to run what is compared. */
  runs: number;
  /** What was given of the benchmark's own options. */
  options: Record<string, string | undefined>;
  signal: AbortSignal;
  /** A line for people, about what is going on or what was left out. */
  note: (text: string) => void;
}

export function thisMachine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memoryMiB: Math.round(totalmem() / 2 ** 20),
    kernel: release(),
    node: process.version,
  };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export const seconds = (milliseconds: number): Figure => ({ value: round(milliseconds / 1000), unit: "s" });
export const count = (value: number): Figure => ({ value: round(value), unit: "" });
export const megabytes = (bytes: number): Figure => ({ value: round(bytes / 1e6), unit: "MB" });

export function atMost(name: string, value: number, target: number): Ratio {
  return { name, value: round(value), target, holds: value <= target };
}

export function atLeast(name: string, value: number, target: number): Ratio {
  return { name, value: round(value), target, holds: value >= target };
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}

/** The report as a table for people (Markdown, as docs/performance.md has it). */
export function table(report: Report): string {
  const { bench, machine, runs, figures, ratios } = report;
  const grid = report.grid ?? {
    head: ["figure", "value"],
    body: Object.entries(figures).map(([name, { value, unit }]) => [name, `${value} ${unit}`]),
  };
  const { cpu, cores, memoryMiB, kernel, node } = machine;
  return [
    `${bench}: ${runs} runs on ${cores} x ${cpu}, ${memoryMiB} MiB, Linux ${kernel}, Node ${node}`,
    "",
    ...rows(grid.head, grid.body),
    "",
    ...rows(
      ["target", "value", "limit", ""],
      ratios.map(({ name, value, target, holds }) => [
        name,
        `${value}`,
        `${target}`,
        holds ? "holds" : "MISSED",
      ]),
    ),
  ].join("\n");
}

export function rows(head: readonly string[], body: readonly (readonly string[])[]): string[] {
  const widths = head.map((title, column) =>
    Math.max(3, title.length, ...body.map((row) => row[column]!.length)),
  );
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i]!)).join(" | ")} |`;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...body.map(line)];
}
