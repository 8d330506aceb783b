import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

/** One of kcr's programs, run from its source as a process of its own. */
export interface Program extends AsyncDisposable {
  /** What it answers at a path of its health port. */
  ask(path: string, init?: RequestInit): Promise<{ status: number; body: string }>;
  /** Its log so far, a line each. */
  readonly log: readonly Record<string, unknown>[];
  signal(signal: NodeJS.Signals): void;
  /** How it ended. */
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

/** Starts a program with that environment and no other; it need not be ready. */
export function startProgram(
  program: "operator" | "agent",
  healthPort: number,
  env: Readonly<Record<string, string>>,
): Program {
  const main = join(import.meta.dirname, `../../src/${program}/main.ts`);
  const child = spawn(process.execPath, [main], {
    env: { PATH: process.env["PATH"], KCR_HEALTH_PORT: String(healthPort), ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const log: Record<string, unknown>[] = [];
  let rest = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    log.push(...lines.map((line) => JSON.parse(line) as Record<string, unknown>));
  });
  const ended = once(child, "close").then(([code, signal]) => ({ code, signal }));
  const killNow = () => child.kill("SIGKILL");
  process.once("exit", killNow);
  return {
    async ask(path, init) {
      const response = await fetch(`http://127.0.0.1:${healthPort}${path}`, {
        signal: AbortSignal.timeout(5000),
        ...init,
      });
      return { status: response.status, body: await response.text() };
    },
    log,
    signal: (signal) => child.kill(signal),
    ended,
    async [Symbol.asyncDispose]() {
      process.off("exit", killNow);
      if (isRunning(child)) child.kill("SIGKILL");
      await ended;
    },
  };
}

const isRunning = ({ exitCode, signalCode }: ChildProcess) => exitCode === null && signalCode === null;
