import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";

/**
 * Does `work` while holding an exclusive lock on a file, waiting for whoever has it.
 *
 * Guarantees: at most one process of the machine is inside for one path; a lock is never left behind, for the
 * kernel frees it when its holder dies, however it dies: flock(1) holds it for as long as a pipe from this
 * process is open.
 *
 * @param waiting called once when somebody else holds the lock.
 */
export async function withLock<T>(
  path: string,
  work: () => Promise<T>,
  { signal, waiting }: { signal?: AbortSignal; waiting?: () => void } = {},
): Promise<T> {
  signal?.throwIfAborted();
  mkdirSync(dirname(path), { recursive: true });
  const script = `flock --nonblock 9 || { echo waiting; flock 9; }; echo locked; exec cat`;
  const holder = spawn("sh", ["-c", `{ ${script}; } 9>>"$1"`, "sh", path], {
    stdio: ["pipe", "pipe", "inherit"],
    detached: true, // an interrupt from the terminal must not free the lock before this process has cleaned up
  });
  holder.stdin.on("error", () => {});
  const ended = new Promise<void>((resolve) => holder.once("exit", () => resolve()));
  const release = () => holder.kill("SIGKILL");
  signal?.addEventListener("abort", release, { once: true });
  try {
    await new Promise<void>((resolve, reject) => {
      let seen = "";
      holder.on("error", reject);
      holder.on("exit", () => reject(signal?.reason ?? new Error(`could not lock ${path}`)));
      holder.stdout.on("data", (chunk: Buffer) => {
        const before = seen;
        seen += chunk;
        if (seen.includes("waiting") && !before.includes("waiting")) waiting?.();
        if (seen.includes("locked")) resolve();
      });
    });
    signal?.removeEventListener("abort", release);
    return await work();
  } finally {
    signal?.removeEventListener("abort", release);
    holder.stdin.end();
    release();
    await ended;
  }
}
