import { createHash } from "node:crypto";
import { chmod, copyFile, link, mkdir, open, readdir, readlink, rename, rm, symlink } from "node:fs/promises";
import { basename, join } from "node:path";
import { readIfThere } from "../store/files.ts";
import { disable } from "./conf.ts";
import { type Host, hashFile, isThere, onHost, writeForAll } from "./host.ts";

/**
 * The handler's files on a node.
 *
 *   /opt/kcr-runtime/versions/<hash>/   kcr-runtime, runtime.mjs, lib/ (Node, its libraries, the loader), its conf
 *   /opt/kcr-runtime/current            symbolic link to one of them
 *   /opt/kcr-runtime/kcr-runtime, ...   symbolic links through `current`: the name that containerd has
 *
 * kcr-runtime looks for the rest beside the file that it really is, so that one rename changes all of it, and a
 * restore that has begun ends with what it began with.
 */
export const HOME = "/opt/kcr-runtime";
const CONF = "kcr-runtime.conf";
const FILES = ["kcr-runtime", CONF, "runtime.mjs", "lib"] as const;

/** Path of this image -> path in a version's directory. */
export type Parts = ReadonlyMap<string, string>;

/** What a version is made of: the files built for nodes, and the Node that runs this with all that it has loaded. */
export function partsOfImage(runtime: string): Parts {
  const { sharedObjects } = process.report.getReport() as unknown as { sharedObjects: string[] };
  const libraries = sharedObjects.filter((path) => path.startsWith("/") && /\.so(\.|$)/.test(basename(path)));
  return new Map([
    [join(runtime, "kcr-runtime"), "kcr-runtime"],
    [join(runtime, "runtime.mjs"), "runtime.mjs"],
    [process.execPath, "lib/node"],
    ...libraries.map((path): [string, string] => [path, `lib/${basename(path)}`]),
  ]);
}

/**
 * Puts a version of the handler on the node and makes it the current one.
 *
 * Guarantees: at every moment `current` leads to a whole version with its configuration, however this ends; the
 * version before stays for restores that are under way. Errors: those of the file system.
 */
export async function installProgram(
  host: Host,
  parts: Parts,
  conf: string,
  signal?: AbortSignal,
): Promise<{ version: string; changed: boolean }> {
  const home = onHost(host, HOME);
  const hashes = new Map<string, string>();
  for (const [from, to] of parts) hashes.set(to, await hashFile(from, signal));
  const version = createHash("sha256")
    .update(JSON.stringify([...hashes].sort()))
    .digest("hex")
    .slice(0, 16);
  const directory = join(home, "versions", version);
  const previous = await readlink(join(home, "current")).then(basename, () => undefined);
  const isWhole = await matches(directory, hashes, signal);
  if (!isWhole) {
    const aside = `${directory}.kcr-tmp`;
    await rm(aside, { recursive: true, force: true });
    await mkdir(join(aside, "lib"), { recursive: true });
    for (const [from, to] of parts) {
      const same = previous && previous !== version && join(home, "versions", previous, to);
      const linked = same && (await hashOf(same, signal)) === hashes.get(to);
      if (linked) await link(same, join(aside, to));
      else await copyWhole(from, join(aside, to));
    }
    await writeForAll(join(aside, CONF), conf);
    await rm(directory, { recursive: true, force: true });
    await rename(aside, directory);
  }
  const confChanged = await writeForAll(join(directory, CONF), conf);
  const changed = !isWhole || confChanged || previous !== version;
  await pointTo(join(home, "current"), join("versions", version));
  for (const name of FILES) await pointTo(join(home, name), join("current", name));
  if (previous !== version) await removeOthers(join(home, "versions"), [version, previous]);
  return { version, changed };
}

async function removeOthers(directory: string, kept: readonly (string | undefined)[]): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!kept.includes(name)) await rm(join(directory, name), { recursive: true, force: true });
  }
}

async function matches(directory: string, hashes: ReadonlyMap<string, string>, signal?: AbortSignal) {
  for (const [to, hash] of hashes) if ((await hashOf(join(directory, to), signal)) !== hash) return false;
  return true;
}

async function hashOf(path: string, signal?: AbortSignal): Promise<string | undefined> {
  return (await isThere(path)) ? hashFile(path, signal) : undefined;
}

async function copyWhole(from: string, to: string): Promise<void> {
  await copyFile(from, to);
  await chmod(to, 0o755);
  await using file = await open(to, "r");
  await file.sync();
}

/** Has a symbolic link lead somewhere, by a rename. */
async function pointTo(path: string, target: string): Promise<void> {
  if ((await readlink(path).catch(() => undefined)) === target) return;
  const aside = `${path}.kcr-tmp`;
  await rm(aside, { force: true });
  await symlink(target, aside);
  await rename(aside, path);
}

/** Has the handler on the node pass everything on and restore nothing. */
export async function disableProgram(host: Host): Promise<void> {
  const path = join(onHost(host, HOME), "current", CONF);
  const conf = await readIfThere(path);
  if (conf !== undefined) await writeForAll(path, disable(conf));
}

export async function removeProgram(host: Host): Promise<void> {
  await rm(onHost(host, HOME), { recursive: true, force: true });
}
