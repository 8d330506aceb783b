import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/*
 * Small files of a node, whole or not there: kcr's own, and what its installer writes beside others'.
 */

/** The file's text, or undefined where there is none. */
export async function readIfThere(path: string): Promise<string | undefined> {
  return await readFile(path, "utf8").catch(missing);
}

/** Names in a directory, sorted; none where there is no directory. */
export async function namesIn(directory: string): Promise<string[]> {
  return ((await readdir(directory).catch(missing)) ?? []).sort();
}

/**
 * Makes a file hold that text, and says whether it did not before.
 *
 * Guarantees: whoever reads it, after a power cut too, sees the old text or the new one, never a part.
 * Assumptions: one writer at a time.
 */
export async function writeWhole(
  path: string,
  text: string,
  { mode = 0o600, directoryMode = 0o700 }: { mode?: number; directoryMode?: number } = {},
): Promise<boolean> {
  if ((await readIfThere(path)) === text) return false;
  const directory = dirname(path);
  await mkdir(directory, { recursive: true, mode: directoryMode });
  const half = join(directory, `.${basename(path)}.half`);
  await rm(half, { force: true });
  try {
    await using file = await open(half, "wx", mode);
    await file.writeFile(text);
    await file.sync();
  } catch (error) {
    await rm(half, { force: true });
    throw error;
  }
  await rename(half, path);
  await using entries = await open(directory, "r");
  await entries.sync();
  return true;
}

/** For `catch`: what is not there is undefined; any other error stays one. */
export function missing(error: unknown): undefined {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOENT" || code === "ENOTDIR") return undefined;
  throw error;
}
