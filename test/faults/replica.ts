import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { freePort } from "../support/free-ports.ts";
import { type FaultProxy, startFaultProxy, type Written } from "./proxy.ts";

/** One write that is to be held on its way, whoever sends it first. */
export class Hold {
  /** The write, once there is one, and whose it is. */
  held: { write: Written; by: Replica } | undefined;
  readonly #matches: (write: Written, by: Replica) => boolean;
  readonly #released = Promise.withResolvers<void>();

  constructor(matches: (write: Written, by: Replica) => boolean) {
    this.#matches = matches;
  }

  get released(): Promise<void> {
    return this.#released.promise;
  }

  takes(write: Written, by: Replica): boolean {
    if (this.held !== undefined || !this.#matches(write, by)) return false;
    this.held = { write, by };
    return true;
  }

  release(): void {
    this.#released.resolve();
  }
}

/** A replica of the operator as a process, with a proxy of its own between it and the API server. */
export class Replica implements AsyncDisposable {
  readonly name: string;
  readonly proxy: FaultProxy;
  /** How it ended. */
  readonly ended: Promise<{ code: number | null; signal: string | null }>;
  readonly #child: ChildProcess;
  readonly #health: string;
  readonly #cleanup: AsyncDisposableStack;
  #log = "";

  private constructor(
    given: { name: string; proxy: FaultProxy; child: ChildProcess; health: string },
    cleanup: AsyncDisposableStack,
  ) {
    this.name = given.name;
    this.proxy = given.proxy;
    this.#child = given.child;
    this.#health = given.health;
    this.#cleanup = cleanup;
    this.ended = once(given.child, "close").then(([code, signal]) => ({ code, signal }));
    for (const stream of [given.child.stdout, given.child.stderr]) {
      stream?.on("data", (chunk) => {
        this.#log = `${this.#log}${chunk}`.slice(-100_000);
      });
    }
  }

  /** `holds` is looked at again with every write. */
  static async start(options: {
    name: string;
    directory: string;
    /** Of an administrator, for the server itself. */
    kubeconfig: string;
    /** The operator's settings. */
    config: string;
    namespace: string;
    holds: readonly Hold[];
  }): Promise<Replica> {
    const { name, directory, kubeconfig, config, namespace, holds } = options;
    await using cleanup = new AsyncDisposableStack();
    const proxy = cleanup.use(await startFaultProxy(kubeconfig));
    const own = await mkdtemp(join(directory, "replica-"));
    cleanup.defer(() => rm(own, { recursive: true }));
    const file = join(own, "kubeconfig");
    await writeFile(file, proxy.kubeconfig);
    const port = await freePort();
    const child = spawn(process.execPath, [join(import.meta.dirname, "../../src/operator/main.ts")], {
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: process.env["PATH"],
        KUBECONFIG: file,
        KCR_CONFIG: config,
        POD_NAMESPACE: namespace,
        POD_NAME: name,
        KCR_WEBHOOK_PORT: "0",
        KCR_HEALTH_PORT: String(port),
      },
    });
    const replica: Replica = new Replica(
      { name, proxy, child, health: `http://127.0.0.1:${port}` },
      cleanup.move(),
    );
    proxy.befall = (asked) => {
      if (asked.method === "GET") return undefined;
      const hold = holds.find((one) => one.takes(asked, replica));
      return hold && { type: "hold", until: hold.released };
    };
    return replica;
  }

  /** Whether it could lead: its caches are synced. */
  async ready(): Promise<boolean> {
    return (await fetch(`${this.#health}/readyz`)).ok;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** The end of what it said. */
  get log(): string {
    return this.#log;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.ended;
    await this.#cleanup.disposeAsync();
  }
}
