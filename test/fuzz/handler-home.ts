import { execFile } from "node:child_process";
import { cp, mkdir, symlink, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { promisify } from "node:util";
import { bundle } from "../../scripts/build.ts";

const node = resolve(import.meta.dirname, "../../node_modules/node/bin/node");

/** Builds the handler once, to be laid into any number of homes. */
export async function buildHandler(directory: string): Promise<string> {
  await bundle(join(directory, "dist"));
  return join(directory, "dist/runtime");
}

/**
 * The handler as it lies on a node, but for links in place of copies of Node and its libraries.
 *
 * @param conf lines of kcr-runtime.conf.
 */
export async function makeHome(home: string, built: string, conf: Record<string, string>): Promise<string> {
  await mkdir(join(home, "lib"), { recursive: true });
  await cp(built, home, { recursive: true });
  const { stdout } = await promisify(execFile)("ldd", [node]);
  for (const [path] of stdout.matchAll(/\/\S+/g)) await symlink(path, join(home, "lib", basename(path)));
  await symlink(node, join(home, "lib/node"));
  const lines = Object.entries(conf).map(([key, value]) => `${key}=${value}\n`);
  await writeFile(join(home, "kcr-runtime.conf"), lines.join(""));
  return join(home, "kcr-runtime");
}
