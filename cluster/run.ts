import { spawn } from "node:child_process";

export interface RunOptions {
  cwd?: string;
  /** Replaces the environment; this process's own is inherited without it. */
  env?: NodeJS.ProcessEnv;
  /** Written to the command's standard input, which is empty without it. */
  input?: string | Buffer;
  signal?: AbortSignal;
  /** Sees every line of standard output and standard error as it comes. */
  onLine?: (line: string) => void;
}

/** A command that could not be started, or ended otherwise than with exit code 0. */
export class CommandError extends Error {
  readonly argv: readonly string[];
  /** Exit code; undefined when the command was ended by a signal or never started. */
  readonly code: number | undefined;
  /** The last lines of standard error (of standard output where that is empty). */
  readonly tail: string;

  constructor(argv: readonly string[], code: number | undefined, how: string, tail: string, cause?: unknown) {
    super(`${argv.join(" ")}: ${how}${tail ? `\n${tail}` : ""}`, { cause });
    this.name = "CommandError";
    this.argv = argv;
    this.code = code;
    this.tail = tail;
  }
}

/** The last `lines` lines of a text, for messages. */
export function lastLines(text: string, lines = 20): string {
  return text.trimEnd().split("\n").slice(-lines).join("\n");
}

/**
 * Runs a command to its end and returns what it wrote to standard output.
 *
 * Errors: `CommandError` with the tail of its standard error; the signal's reason when aborted (the command
 * is then sent SIGTERM and waited for).
 */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const { cwd, env, input, signal, onLine } = options;
  signal?.throwIfAborted();
  const [command, ...args] = argv;
  if (command === undefined) throw new TypeError("an empty command line");
  const child = spawn(command, args, { cwd, env, stdio: ["pipe", "pipe", "pipe"] });
  const abort = () => child.kill("SIGTERM");
  signal?.addEventListener("abort", abort, { once: true });
  const collect = (stream: NodeJS.ReadableStream): (() => string) => {
    const chunks: Buffer[] = [];
    let partial = "";
    stream.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      if (!onLine) return;
      const lines = (partial + chunk.toString()).split("\n");
      partial = lines.pop() ?? "";
      for (const line of lines) onLine(line);
    });
    return () => Buffer.concat(chunks).toString();
  };
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  // A command that ends without reading its input breaks the pipe; its exit code says what matters.
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  try {
    const { code, killedBy } = await new Promise<{ code: number | null; killedBy: string | null }>(
      (resolve, reject) => {
        child.on("error", reject);
        child.on("close", (code, killedBy) => resolve({ code, killedBy }));
      },
    );
    signal?.throwIfAborted();
    if (code === 0) return stdout();
    const how = code === null ? `ended by ${killedBy}` : `exit code ${code}`;
    throw new CommandError(argv, code ?? undefined, how, lastLines(stderr() || stdout()));
  } catch (error) {
    if (error instanceof CommandError || signal?.aborted) throw error;
    throw new CommandError(argv, undefined, "could not be started", String(error), error);
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

/** Whether a command of this name is on the PATH. */
export async function available(command: string): Promise<boolean> {
  try {
    await run(["sh", "-c", `command -v "$1"`, "sh", command]);
    return true;
  } catch {
    return false;
  }
}
