import { join } from "node:path";
import { type BuildOptions, build } from "esbuild";
import { compileStatic } from "./compile.ts";

const root = join(import.meta.dirname, "..");

/**
 * Builds what ships, for kcr's image: the programs of pods, each one file with its dependencies inside, for the
 * Node in the image; and in `runtime/` the two files of the handler that go to the nodes.
 *
 * Errors: those of the compilers; one that says so where there is no gcc.
 */
export async function bundle(outdir: string, signal?: AbortSignal): Promise<void> {
  await Promise.all([
    build({
      ...common,
      entryPoints: { operator: main("operator"), agent: main("agent"), installer: main("installer") },
      outdir,
      sourcemap: "linked",
    }),
    // Started for every restore: what it does not carry, it need not load.
    build({
      ...common,
      entryPoints: { runtime: main("runtime") },
      outdir: join(outdir, "runtime"),
      minify: true,
    }),
    ...["runtime/kcr-runtime", "installer/enter-host", "installer/pause"].map((path) =>
      compileStatic(join(root, `src/${path}.c`), join(outdir, path.replace("installer/", "")), signal),
    ),
    compileDump(join(outdir, "kcr-dump"), signal),
  ]);
}

/** The program that dumps a container where it runs. */
export const compileDump = (target: string, signal?: AbortSignal): Promise<void> => {
  const [source, ...more] = ["kcr-dump.c", "tar.c", "tar.h"].map((file) => join(root, "src/engine", file));
  return compileStatic(source!, target, signal, more);
};

const main = (program: string): string => `src/${program}/main.ts`;

const common: BuildOptions = {
  absWorkingDir: root,
  bundle: true,
  platform: "node",
  target: "node26",
  format: "esm",
  outExtension: { ".js": ".mjs" },
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: "none",
  logLevel: "warning",
  // Some dependencies are CommonJS and ask for `require`.
  banner: {
    js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
  },
};

if (import.meta.main) await bundle(join(root, "dist"));
