import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { cp, mkdir, mkdtemp, rename, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { withLock } from "../../cluster/lock.ts";
import { cacheDir } from "../../cluster/paths.ts";
import { run } from "../../cluster/run.ts";

const root = join(import.meta.dirname, "../..");

/**
 * The version before, with which this one has to get along: the commit at which direct dumps, the handler and copies
 * between nodes were done, and requests did not go by turns yet (src/operator/request/admission.ts came next). Its
 * Checkpoints say less of where they fit, and it knows no CheckpointDownload.
 */
export const VERSION_BEFORE = "c4e92e05dce272082e5aac0943860142da212b94";

/** What a version comes to. */
export interface Version {
  /** What `scripts/build.ts` made: what is in kcr's image. */
  dist: string;
  /** Its manifests. */
  config: string;
}

/** Why the version before cannot be built here; undefined if it can. */
export function whyNotBefore(): string | undefined {
  if (existsSync(join(cacheDir("versions", VERSION_BEFORE), "dist"))) return undefined;
  const known = git("cat-file", "-e", `${VERSION_BEFORE}^{commit}`);
  return known.status === 0
    ? undefined
    : `this clone's history does not reach back to ${VERSION_BEFORE.slice(0, 7)}: git fetch --unshallow`;
}

/** The version before, built once and kept in the cache by its commit. Errors: those of git, npm and the build. */
export async function versionBefore(): Promise<Version> {
  const directory = cacheDir("versions", VERSION_BEFORE);
  await withLock(cacheDir("versions", "lock"), async () => {
    if (!existsSync(directory)) await make(directory);
  });
  return { dist: join(directory, "dist"), config: join(directory, "config") };
}

async function make(directory: string): Promise<void> {
  await mkdir(cacheDir("versions"), { recursive: true });
  const work = await mkdtemp(`${directory}.building-`);
  try {
    const [tree, whole] = [join(work, "tree"), join(work, "whole")];
    await mkdir(tree);
    await run(["git", "-C", root, "archive", "--output", join(work, "tree.tar"), VERSION_BEFORE]);
    await run(["tar", "-xf", join(work, "tree.tar"), "-C", tree]);
    const lockOf = (of: string) => hash(readFileSync(join(of, "package-lock.json")));
    if (lockOf(tree) === lockOf(root)) await symlink(join(root, "node_modules"), join(tree, "node_modules"));
    else await run(["npm", "ci", "--no-fund", "--no-audit", "--prefix", tree]);
    await run([process.execPath, join(tree, "scripts/build.ts")]);
    await mkdir(whole);
    for (const part of ["dist", "config"]) {
      await cp(join(tree, part), join(whole, part), { recursive: true });
    }
    await rename(whole, directory);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

const git = (...args: string[]) => spawnSync("git", ["-C", root, ...args], { stdio: "ignore" });
const hash = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
