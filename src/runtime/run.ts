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

/** Has the real runtime restore, on the container's own standard streams; it ends with this process or `signal`. */
export function runRestore(
  { home, runtime }: Conf,
  args: readonly string[],
  signal: AbortSignal,
): Promise<Ended> {
  return run(join(home, "kcr-runtime"), ["--kcr-with-caller", runtime, ...args], [...STREAMS], signal);
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
): Promise<Ended> {
  const { promise, resolve, reject } = Promise.withResolvers<Ended>();
  const child = spawn(program, args, { stdio, signal, killSignal: "SIGKILL" });
  // What a signal ends has still to end.
  child.once("error", (error) => child.pid === undefined && reject(error));
  child.once("exit", (code, signal) => resolve({ code, signal }));
  return promise;
}
