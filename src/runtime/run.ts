import { spawn } from "node:child_process";
import { join } from "node:path";
import type { Conf } from "./conf.ts";

/**
 * Where the container's own standard streams lie: the program's own lead nowhere (see kcr-runtime.c), so that
 * Node's habits, such as making pipes non-blocking, never reach the container.
 */
const STREAMS = [20, 21, 22] as const;

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/**
 * Has the real runtime restore, on the container's own standard streams; its group ends with `signal`, it with this
 * process. `criuConfig` is a configuration file of CRIU's.
 */
export function runRestore(
  { home, runtime }: Conf,
  args: readonly string[],
  signal: AbortSignal,
  criuConfig?: string,
): Promise<Ended> {
  const words = ["--kcr-with-caller", runtime, ...args];
  const env = criuConfig === undefined ? undefined : { ...process.env, CRIU_CONFIG_FILE: criuConfig };
  return run(join(home, "kcr-runtime"), words, [...STREAMS], signal, env);
}

/** Runs the real runtime, or kcr-runtime itself. Errors: it could not be run. */
export function runRuntime(runtime: string, args: readonly string[]): Promise<Ended> {
  return run(runtime, args, "ignore");
}

function run(
  program: string,
  args: readonly string[],
  stdio: "ignore" | number[],
  signal?: AbortSignal,
  env?: NodeJS.ProcessEnv,
): Promise<Ended> {
  const { promise, resolve, reject } = Promise.withResolvers<Ended>();
  const child = spawn(program, args, { stdio, env });
  // With all that it has started, in whose hands what is to be undone would be.
  const end = (): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    } catch {
      child.kill("SIGKILL");
    }
  };
  if (signal?.aborted) end();
  else signal?.addEventListener("abort", end, { once: true });
  child.once("error", reject);
  child.once("exit", (code, killed) => {
    // Its number may be another's from now on.
    signal?.removeEventListener("abort", end);
    resolve({ code, signal: killed });
  });
  return promise;
}
