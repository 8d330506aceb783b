import { randomUUID } from "node:crypto";
import { ensurePackages } from "../../cluster/debian.ts";
import { run } from "../../cluster/run.ts";
import { waitFor } from "./wait-for.ts";

/** A shell in a real terminal, as a person sits before it. */
export class Terminal implements AsyncDisposable {
  readonly #tmux: readonly string[];

  private constructor(socket: string) {
    this.#tmux = ["tmux", "-L", socket];
  }

  /** A bash without the machine's own settings; its prompt is `$ `. */
  static async open(
    env: Record<string, string>,
    { columns = 100, rows = 50 }: { columns?: number; rows?: number } = {},
  ): Promise<Terminal> {
    await ensurePackages(["tmux"]);
    const socket = `kcr-test-${randomUUID().slice(0, 8)}`;
    const terminal = new Terminal(socket);
    const given = Object.entries({ ...env, PS1: "$ ", LC_ALL: "C.UTF-8" }).map(
      ([key, value]) => `${key}=${value}`,
    );
    const shell = ["env", ...given, "bash", "--norc", "--noprofile"];
    const size = ["-x", String(columns), "-y", String(rows)];
    await run(["tmux", "-L", socket, "-f", "/dev/null", "new-session", "-d", "-s", "t", ...size, ...shell]);
    await terminal.shows(/^\$/m);
    return terminal;
  }

  /** Types a command on an empty screen, and presses Enter. */
  async type(line: string): Promise<void> {
    await run([...this.#tmux, "send-keys", "-t", "t", "-R", "C-l"]);
    await run([...this.#tmux, "clear-history", "-t", "t"]);
    await this.keys(line);
    await this.press("Enter");
  }

  /** Types without Enter. */
  async keys(text: string): Promise<void> {
    await run([...this.#tmux, "send-keys", "-t", "t", "-l", text]);
  }

  /** A key by tmux's name for it: `C-c`, `Tab`. */
  async press(key: string): Promise<void> {
    await run([...this.#tmux, "send-keys", "-t", "t", key]);
  }

  /** What stands there, with its escape sequences if they are wanted; lines that were wrapped are joined. */
  async screen({ escapes = false }: { escapes?: boolean } = {}): Promise<string> {
    const text = await run([
      ...this.#tmux,
      "capture-pane",
      "-p",
      "-J",
      "-t",
      "t",
      ...(escapes ? ["-e"] : []),
    ]);
    return text.replace(/[ \t]+$/gm, "").trimEnd();
  }

  /** Waits until the screen shows something, and gives the screen. */
  async shows(pattern: RegExp, timeoutMs = 60_000): Promise<string> {
    let last = "";
    try {
      return await waitFor(
        `the terminal to show ${pattern}`,
        async () => {
          last = await this.screen();
          return pattern.test(last) && last;
        },
        { timeoutMs },
      );
    } catch (error) {
      throw new Error(`${(error as Error).message}; it shows:\n${last}`, { cause: error });
    }
  }

  /** Runs a command to its end, and gives what it showed with its exit code. */
  async run(line: string, timeoutMs?: number): Promise<{ shown: string; exit: number }> {
    await this.type(`${line}; echo "[exit $?]"`);
    const screen = await this.shows(/^\[exit \d+\]$/m, timeoutMs);
    return { shown: screen, exit: Number(/^\[exit (\d+)\]$/m.exec(screen)?.[1]) };
  }

  /** Whether the cursor is to be seen. */
  async cursor(): Promise<boolean> {
    return (await run([...this.#tmux, "display-message", "-p", "-t", "t", "#{cursor_flag}"])).trim() === "1";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run([...this.#tmux, "kill-server"]);
  }
}
