import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type BenchArgs, type Report, table } from "./lib/report.ts";

/** A file of this folder: its name is the benchmark's. */
interface Bench {
  run(args: BenchArgs): Promise<Report>;
}

const usage = "npm run bench -- NAME [--runs N] [--json FILE]";

/** Runs one benchmark. The exit code is 1 when a target is missed or it could not be run, 2 for a wrong call. */
async function main(): Promise<number> {
  const files = (await readdir(import.meta.dirname)).filter(
    (file) => file.endsWith(".ts") && file !== "main.ts",
  );
  const names = files.map((file) => file.slice(0, -".ts".length)).sort();
  const { values, positionals } = parseArgs({
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
  const bench: Bench = await import(join(import.meta.dirname, `${name}.ts`));
  const note = (text: string) => console.error(text);
  const report = await bench.run({ runs, signal: controller.signal, note });
  console.log(table(report));
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(report, null, 2)}\n`);
  return report.ratios.every(({ holds }) => holds) ? 0 : 1;
}

process.exitCode = await main();
