import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type BenchArgs, type Report, table } from "./lib/report.ts";

/** A file of this folder: its name is the benchmark's. */
interface Bench {
  run(args: BenchArgs): Promise<Report>;
}

const usage = "npm run bench -- NAME [--runs N] [--json FILE]";

/**
 * Runs one benchmark of a folder. Returns the exit code: 1 when a target is missed or none was measured, 2 for a wrong call.
 *
 * Errors: the benchmark's own.
 */
export async function main(argv: readonly string[], folder = import.meta.dirname): Promise<number> {
  const files = (await readdir(folder)).filter((file) => /^[a-z-]+\.ts$/.test(file) && file !== "main.ts");
  const names = files.map((file) => file.slice(0, -".ts".length)).sort();
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: { json: { type: "string" }, runs: { type: "string", default: "5" } },
  });
  const [name] = positionals;
  const runs = Number(values.runs);
  if (name === undefined || !names.includes(name) || positionals.length !== 1 || !(runs >= 1)) {
    console.error(`${usage}\nNAME is one of: ${names.join(", ")}`);
    return 2;
  }
  const controller = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => controller.abort(new Error(`ended by ${signal}`)));
  }
  const bench: Bench = await import(join(folder, `${name}.ts`));
  const note = (text: string) => console.error(text);
  const report = await bench.run({ runs, signal: controller.signal, note });
  console.log(table(report));
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(report, null, 2)}\n`);
  return report.ratios.length > 0 && report.ratios.every(({ holds }) => holds) ? 0 : 1;
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
