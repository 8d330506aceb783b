import { type Progress, silent } from "./progress.ts";
import { available, run } from "./run.ts";

/** Which of these Debian packages are not installed on this machine. */
async function missingPackages(packages: readonly string[], signal?: AbortSignal): Promise<string[]> {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own syntax
  const query = ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\n"];
  const listed = await run(["sh", "-c", `"$@" 2>/dev/null || true`, "sh", ...query, ...packages], { signal });
  const installed = new Set(
    listed
      .split("\n")
      .filter((line) => line.startsWith("installed "))
      .map((line) => line.slice("installed ".length)),
  );
  return packages.filter((name) => !installed.has(name));
}

/**
 * Installs the Debian or Ubuntu packages that are missing on this machine.
 *
 * Errors: where that is impossible (another distribution, not root) an Error that names the packages. On other
 * distributions nothing can be known about packages, so they are taken to be there: what needs them will say.
 */
export async function ensurePackages(
  packages: readonly string[],
  progress: Progress = silent,
  signal?: AbortSignal,
): Promise<void> {
  if (!(await available("dpkg-query"))) return;
  const missing = await missingPackages(packages, signal);
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0) {
    throw new Error(`missing on this machine: ${missing.join(" ")} (apt-get install them as root)`);
  }
  await progress.task(`installing ${missing.join(" ")}`, async (detail) => {
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    const apt = (...args: string[]) =>
      run(["apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=300", ...args], { env, signal, onLine: detail });
    await apt("update");
    await apt("install", "--yes", "--no-install-recommends", ...missing);
  });
}
