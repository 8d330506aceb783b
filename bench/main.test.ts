import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { atLeast, atMost, type Ratio, type Report, thisMachine } from "./lib/report.ts";
import { main } from "./main.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "kcr-bench-test-"));
  vi.spyOn(console, "log").mockImplementation(() => {});
  vi.spyOn(console, "error").mockImplementation(() => {});
});
afterEach(async () => {
  vi.restoreAllMocks();
  await rm(folder, { recursive: true });
});

/** A benchmark that finds these ratios. */
async function bench(name: string, ratios: Ratio[]): Promise<void> {
  const report: Report = { bench: name, machine: thisMachine(), runs: 1, figures: {}, ratios };
  await writeFile(
    join(folder, `${name}.ts`),
    `export const run = async () => (${JSON.stringify(report)});\n`,
  );
}

test.each([
  ["every target holds", [atMost("a", 1, 1.5), atLeast("b", 5, 4)], 0],
  ["one target is missed", [atMost("a", 1, 1.5), atLeast("b", 3, 4)], 1],
  ["a ratio is no number", [atMost("a", Number.NaN, 1.5)], 1],
  ["no target was measured", [], 1],
])("when %s the exit code says so", async (_, ratios, code) => {
  await bench("some", ratios);
  expect(await main(["some"], folder)).toBe(code);
});

test("the report is written to the file that was asked for, also when a target is missed", async () => {
  await bench("some", [atMost("a", 2, 1.5)]);
  const file = join(folder, "report.json");
  expect(await main(["some", "--json", file, "--runs", "1"], folder)).toBe(1);
  expect(JSON.parse(await readFile(file, "utf8"))).toMatchObject({
    bench: "some",
    ratios: [{ holds: false }],
  });
});

test.each([[[]], [["other"]], [["some", "more"]], [["some", "--runs", "0"]], [["some.test"]]])(
  "%j is a wrong call",
  async (argv) => {
    await bench("some", [atMost("a", 1, 1.5)]);
    await bench("some.test", [atMost("a", 1, 1.5)]);
    expect(await main(argv, folder)).toBe(2);
  },
);

test("a benchmark is given its own options, and no others", async () => {
  const file = join(folder, "some.ts");
  await writeFile(
    file,
    `export const options = { size: { type: "string" } };
export const run = async ({ options }) =>
  ({ bench: "some", machine: {}, runs: 1, figures: {}, ratios: [{ name: "a", value: 1, target: 1, holds: options.size === "7" }] });
`,
  );
  expect(await main(["some", "--size", "7"], folder)).toBe(0);
  expect(await main(["some"], folder)).toBe(1);
  expect(await main(["some", "--colour", "7"], folder)).toBe(2);
});
