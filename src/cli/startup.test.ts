import { isBuiltin } from "node:module";
import { build } from "esbuild";
import { expect, it } from "vitest";

/**
 * What takes longer to load than `kcr --help` should is imported by the action that needs it, for a command's file is
 * loaded whatever the command is.
 */
it("no command loads a library before it is run", async () => {
  const { metafile } = await build({
    entryPoints: [`${import.meta.dirname}/main.ts`],
    bundle: true,
    packages: "external",
    platform: "node",
    format: "esm",
    write: false,
    metafile: true,
    outdir: "unused",
    logLevel: "silent",
  });
  const isMain = (path: string): boolean => path.endsWith("src/cli/main.ts");
  const ways = new Map(
    Object.keys(metafile.inputs)
      .filter(isMain)
      .map((path) => [path, path]),
  );
  const libraries: string[] = [];
  for (const [path, way] of ways) {
    for (const { path: to, kind, external } of metafile.inputs[path]?.imports ?? []) {
      if (kind === "dynamic-import" || isBuiltin(to) || to === "commander" || ways.has(to)) continue;
      if (external) libraries.push(`${way} -> ${to}`);
      else ways.set(to, `${way} -> ${to}`);
    }
  }
  expect(ways.size).toBeGreaterThan(30);
  expect(libraries).toEqual([]);
});
