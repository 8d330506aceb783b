import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { lastLines } from "../../cluster/run.ts";
import { freePort } from "../support/free-ports.ts";
import { waitFor } from "../support/wait-for.ts";

const ROOT = join(import.meta.dirname, "../..");

export interface UndyingOptions {
  program: "operator" | "agent";
  /** Where its journal and its log are. */
  directory: string;
  /** Below it names of files count. */
  root: string;
  env: Record<string, string>;
  /** What is done after each kill, before it is started again. */
  onKilled?: (moment: string) => Promise<void>;
}

/** A program that mortal.ts kills, and that is started again each time, until it is told to end and does. */
export class Undying implements AsyncDisposable {
  readonly #options: UndyingOptions;
  readonly #journal: string;
  readonly #log: string;
  readonly #port: number;
  #child: ChildProcess | undefined;
  #running: Promise<void> | undefined;
  #isStopping = false;
  #failure: unknown;

  private constructor(options: UndyingOptions, port: number) {
    this.#options = options;
    this.#port = port;
    this.#journal = join(options.directory, `${options.program}.journal`);
    this.#log = join(options.directory, `${options.program}.log`);
  }

  static async start(options: UndyingOptions): Promise<Undying> {
    const undying = new Undying(options, await freePort());
    await writeFile(undying.#journal, "");
    undying.#running = undying.#live().catch((error: unknown) => {
      undying.#failure = error;
    });
    return undying;
  }

  /** At which moments it was killed so far. */
  async killed(): Promise<string[]> {
    return (await readFile(this.#journal, "utf8")).split("\n").filter(Boolean);
  }

  /** Whether it has its first whole picture. Errors: nobody answers. */
  async isReady(): Promise<boolean> {
    return (await fetch(`http://127.0.0.1:${this.#port}/readyz`)).ok;
  }

  /** Why it did not live on, if it did not. */
  get failure(): unknown {
    return this.#failure;
  }

  /** Ends it as a shutdown does; where it is killed on the way, it is started and told again. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#stopWhenReady(this.#child);
    await this.#running;
    if (this.#failure !== undefined) throw this.#failure;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopping = true;
    this.#failure ??= new Error("it was ended");
    this.#child?.kill("SIGKILL");
    await this.#running;
  }

  async #live(): Promise<void> {
    while (this.#failure === undefined) {
      const [code, signal] = await this.#liveOnce();
      if (this.#failure !== undefined) return;
      if (signal !== "SIGKILL") {
        if (code === 0 && this.#isStopping) return;
        const said = lastLines(await readFile(this.#log, "utf8"));
        throw new Error(`the ${this.#options.program} ended by itself (${code ?? signal}):\n${said}`);
      }
      await this.#options.onKilled?.((await this.killed()).at(-1) ?? "");
    }
  }

  async #liveOnce(): Promise<[code: number | null, signal: string | null]> {
    const { program, directory, root, env } = this.#options;
    const log = await open(this.#log, "a");
    const argv = ["--import", join(import.meta.dirname, "mortal.ts"), join(ROOT, `src/${program}/main.ts`)];
    const child = spawn(process.execPath, argv, {
      env: {
        ...env,
        KCR_CRASH_JOURNAL: this.#journal,
        KCR_CRASH_ROOT: root,
        KCR_HEALTH_PORT: String(this.#port),
        NODE_COMPILE_CACHE: join(directory, "compiled"),
      },
      stdio: ["ignore", log.fd, log.fd],
    });
    this.#child = child;
    const exited = once(child, "exit") as Promise<[number | null, string | null]>;
    await Promise.all([once(child, "spawn"), log.close()]);
    if (this.#isStopping) this.#stopWhenReady(child);
    return await exited;
  }

  /** One that is only being started would die of it. */
  #stopWhenReady(child: ChildProcess | undefined): void {
    const isOver = () => child === undefined || child.exitCode !== null || child.signalCode !== null;
    const isReady = async () => isOver() || (await this.isReady());
    waitFor(`the ${this.#options.program} to be ready`, isReady, { intervalMs: 50 }).then(
      () => child?.kill("SIGTERM"),
      (error: unknown) => {
        this.#failure ??= error;
        child?.kill("SIGKILL");
      },
    );
  }
}
