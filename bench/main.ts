import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type ParseArgsOptionsConfig, parseArgs } from "node:util";
import { type BenchArgs, type Report, table } from "./lib/report.ts";

/** A file of this folder: its name is the benchmark's. */
interface Bench {
  /** Its own options, all of which take a text. */
  options?: Record<string, { type: "string" }>;
  run(args: BenchArgs): Promise<Report>;
}

const usage = `npm run bench -- NAME [--runs N] [--json FILE]
npm run bench -- scale [--deployments N,...] [--picture FILE] [--json FILE]`;
const common = {
  json: { type: "string" },
  runs: { type: "string", default: "5" },
} as const satisfies ParseArgsOptionsConfig;

/**
 * Runs one benchmark of a folder. Returns the exit code: 1 when a target is missed or none was measured, 2 for a wrong call.
 *
 * Errors: the benchmark's own.
 */
export async function main(argv: readonly string[], folder = import.meta.dirname): Promise<number> {
  const files = (await readdir(folder)).filter((file) => /^[a-z-]+\.ts$/.test(file) && file !== "main.ts");
  const names = files.map((file) => file.slice(0, -".ts".length)).sort();
  const [name, ...args] = argv;
  const wrong = (why: string): 2 => {
    console.error(`${why}\n${usage}\nNAME is one of: ${names.join(", ")}`);
    return 2;
  };
  if (name === undefined || !names.includes(name)) return wrong("which benchmark?");
  const bench: Bench = await import(join(folder, `${name}.ts`));
  let values: Record<string, string | undefined>;
  try {
    ({ values } = parseArgs({ args, options: { ...common, ...bench.options } }));
  } catch (error) {
    return wrong(error instanceof Error ? error.message : String(error));
  }
  const { json, runs: count, ...options } = values;
  const runs = Number(count);
  if (!(runs >= 1)) return wrong("--runs is at least 1");
  const controller = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => controller.abort(new Error(`ended by ${signal}`)));
  }
  const note = (text: string) => console.error(text);
  const report = await bench.run({ runs, options, signal: controller.signal, note });
  console.log(table(report));
  if (json !== undefined) await writeFile(json, `${JSON.stringify(report, null, 2)}\n`);
  return report.ratios.length > 0 && report.ratios.every(({ holds }) => holds) ? 0 : 1;
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
