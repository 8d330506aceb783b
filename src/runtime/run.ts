import { spawn } from "node:child_process";

/**
 * Where the container's own standard streams lie: the program's own lead nowhere (see kcr-runtime.c), so that
 * Node's habits, such as making pipes non-blocking, never reach the container.
 */
const STREAMS = [20, 21, 22] as const;

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** Runs the real runtime. With `streams`, on the container's own standard streams. Errors: it could not be run. */
export function runRuntime(
  runtime: string,
  args: readonly string[],
  { streams = false, timeoutMs }: { streams?: boolean; timeoutMs?: number } = {},
): Promise<Ended> {
  const { promise, resolve, reject } = Promise.withResolvers<Ended>();
  const child = spawn(runtime, args, {
    stdio: streams ? [...STREAMS] : "ignore",
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  child.once("error", reject);
  child.once("exit", (code, signal) => resolve({ code, signal }));
  return promise;
}
