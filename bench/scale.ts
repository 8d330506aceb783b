import { writeFile } from "node:fs/promises";
import { atMost, type BenchArgs, type Report, thisMachine } from "./lib/report.ts";
import { type Measured, measure } from "./lib/scale/measure.ts";
import { figuresOf, growth, picture } from "./lib/scale/show.ts";

export const options = {
  /** How many; of several sizes, one after the other, the growth is shown. */
  deployments: { type: "string" },
  /** A file for the picture of the growth. */
  picture: { type: "string" },
} as const;

/** A Lease is read and renewed every two seconds, and a dozen watches are opened anew every few minutes: there is cause for no more. */
const MOST_AT_REST = 80;

/**
 * The operator with 100, 1,000 and 10,000 annotated Deployments, or as many as are asked for. Nodes and pods are objects
 * only, and agents are simulated: they answer requests, and dump nothing.
 */
export async function run({ options, signal, note }: BenchArgs): Promise<Report> {
  const sizes = (options["deployments"] ?? "100,1000,10000").split(",").map(Number);
  if (!sizes.every((size) => Number.isInteger(size) && size > 0)) {
    throw new Error(`--deployments takes numbers, not ${options["deployments"]}`);
  }
  const measured: Measured[] = [];
  for (const size of sizes) {
    note(`${size} Deployments`);
    const began = performance.now();
    measured.push(await measure(size, { signal, note }));
    note(`  ${Math.round((performance.now() - began) / 1000)} s: ${JSON.stringify(measured.at(-1))}`);
  }
  if (options["picture"] !== undefined) await writeFile(options["picture"], picture(measured));
  const largest = measured.reduce((most, one) => (one.size > most.size ? one : most));
  const name = (what: string) => `${what}, ${largest.size.toLocaleString("en")} Deployments`;
  const sum = (of: (m: Measured) => number) => measured.reduce((sum, m) => sum + of(m), 0);
  return {
    bench: "scale",
    machine: thisMachine(),
    runs: 1,
    figures: figuresOf(measured),
    grid: growth(measured),
    ratios: [
      atMost(name("operator's most resident memory (MB)"), largest.bytes.most / 1e6, 400),
      atMost(name("a full round of schedule decisions (s)"), largest.roundMs / 1000, 1),
      atMost(
        "requests missed",
        sum((m) => m.missed),
        0,
      ),
      atMost(
        "requests doubled",
        sum((m) => m.doubled),
        0,
      ),
      atMost(name("API requests a minute at rest"), largest.perMinute.rest, MOST_AT_REST),
    ],
  };
}
