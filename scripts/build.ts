import { chmod } from "node:fs/promises";
import { isBuiltin } from "node:module";
import { join } from "node:path";
import { type BuildOptions, build, type Plugin } from "esbuild";
import { readManifests } from "../src/cli/install/shipped.ts";
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
      entryPoints: Object.fromEntries(
        ["operator", "agent", "installer", "download"].map((program) => [program, main(program)]),
      ),
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

/** What a plugin of kubectl must be called. */
export const CLI = "kubectl-kcr";

/**
 * Builds what a person installs: `kubectl-kcr`, one file with everything inside, a program for sh and for Node alike.
 *
 * sh looks for a Node, the one of this repository or the one in $PATH, and starts it with the very same file, whose
 * second line Node takes for a string and a comment.
 */
export async function bundleCli(outdir: string): Promise<void> {
  const file = join(outdir, CLI);
  await build({
    ...common,
    entryPoints: [main("cli")],
    outfile: file,
    target: "node22",
    minify: true,
    plugins: [lazyBuiltins],
    define: { KCR_MANIFESTS: JSON.stringify(readManifests(join(root, "config"))) },
    banner: { js: `#!/bin/sh\n":" //; ${launcher}\n${common.banner?.js}` },
  });
  await chmod(file, 0o755);
}

/**
 * Node's own modules are fetched when the module that wants one is first run. An `import` of one file would load all
 * of them at its start, whatever the command: node:http alone doubles the time that `kcr --help` takes.
 */
const lazyBuiltins: Plugin = {
  name: "lazy-builtins",
  setup(build) {
    build.onResolve({ filter: /^[a-z]/ }, ({ path }) =>
      isBuiltin(path) ? { path: path.replace(/^node:/, ""), namespace: "builtin" } : undefined,
    );
    build.onLoad({ filter: /.*/, namespace: "builtin" }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)});`,
    }));
  },
};

/**
 * Of V8's own choice short-lived memory would take 50 MB more where much is read, and be no quicker. What V8 has made
 * of the file is kept in the person's cache: without that it takes a third of a short command's time, each time.
 */
const launcher = [
  'at=$(readlink -f "$0" 2>/dev/null || echo "$0")',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: sh's own syntax
  'node="${at%/*}/../node_modules/node/bin/node"',
  '[ -x "$node" ] || node=node',
  '[ "$node" != node ] || case "$(node --version 2>&1)" in v2[2-9].*|v[3-9]?.*) ;; *) echo "kcr needs Node 22.19 or newer in \\$PATH" >&2; exit 1;; esac',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: sh's own syntax
  '[ -z "$HOME" ] || export NODE_COMPILE_CACHE="${NODE_COMPILE_CACHE-${XDG_CACHE_HOME:-$HOME/.cache}/kcr/node}"',
  'exec "$node" --max-semi-space-size=4 "$0" "$@"',
].join("; ");

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

/** `npm run build`: all; `npm run build -- cli`: without what needs a C compiler. */
if (import.meta.main) {
  const dist = join(root, "dist");
  const all = !process.argv.includes("cli");
  await Promise.all([bundleCli(dist), ...(all ? [bundle(dist)] : [])]);
}
