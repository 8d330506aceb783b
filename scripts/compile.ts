import { createHash } from "node:crypto";
import { chmod, copyFile, mkdir, readFile, rename } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { ensurePackages } from "../cluster/debian.ts";
import { cacheDir } from "../cluster/paths.ts";
import { run } from "../cluster/run.ts";

const flags = ["-static", "-O2", "-Wall", "-Wextra", "-Werror"];

/**
 * Compiles a C file, with others and headers if it needs `more`, into a program that needs no library of the machine
 * it runs on, or takes it from the cache, where it lies under the hash of what it is made of. The compiler is installed
 * where it is missing.
 *
 * Errors: one that names the packages where that is impossible; `CommandError` with the compiler's words.
 */
export async function compileStatic(
  source: string,
  target: string,
  signal?: AbortSignal,
  more: readonly string[] = [],
): Promise<void> {
  const compiler = await version(signal);
  const hash = createHash("sha256").update(JSON.stringify([compiler, flags]));
  for (const file of [source, ...more]) hash.update(await readFile(file));
  const key = hash.digest("hex").slice(0, 16);
  const cached = cacheDir("bin", `${basename(source, ".c")}-${key}`);
  await mkdir(dirname(cached), { recursive: true });
  await mkdir(dirname(target), { recursive: true });
  try {
    await copyFile(cached, target);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    await run(["gcc", ...flags, "-o", target, source, ...more.filter((file) => file.endsWith(".c"))], {
      signal,
    });
    const aside = `${cached}.${process.pid}`;
    await copyFile(target, aside);
    await rename(aside, cached);
  }
  await chmod(target, 0o755);
}

async function version(signal: AbortSignal | undefined): Promise<string> {
  await ensurePackages(["gcc", "libc6-dev"], undefined, signal);
  return (await run(["gcc", "--version"], { signal })).split("\n")[0]!;
}
