import { join } from "node:path";
import { build } from "esbuild";

/** Bundles what ships: one file per program, its dependencies inside, for the Node in kcr's image. */
export async function bundle(outdir: string): Promise<void> {
  const root = join(import.meta.dirname, "..");
  await build({
    absWorkingDir: root,
    entryPoints: { operator: "src/operator/main.ts", agent: "src/agent/main.ts" },
    outdir,
    bundle: true,
    platform: "node",
    target: "node26",
    format: "esm",
    outExtension: { ".js": ".mjs" },
    minifySyntax: true,
    minifyWhitespace: true,
    sourcemap: "linked",
    legalComments: "none",
    logLevel: "warning",
    // Some dependencies are CommonJS and ask for `require`.
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
  });
}

if (import.meta.main) await bundle(join(import.meta.dirname, "..", "dist"));
