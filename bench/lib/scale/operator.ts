import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { lastLines } from "../../../cluster/run.ts";
import { waitFor } from "../../../test/support/wait-for.ts";

/** One sample of a metric: its labels as Prometheus writes them, and its value. */
type Samples = ReadonlyArray<{ name: string; labels: string; value: number }>;

/** The operator as it ships, as a process of its own. */
export class OperatorProcess {
  readonly #child: ChildProcess;
  readonly #port: number;
  readonly #log: string;

  private constructor(child: ChildProcess, port: number, log: string) {
    this.#child = child;
    this.#port = port;
    this.#log = log;
  }

  /** `directory` holds `operator.mjs` and its `config.yaml`. */
  static async start(directory: string, kubeconfig: string, port: number): Promise<OperatorProcess> {
    const path = join(directory, "operator.log");
    const log = await open(path, "a");
    const child = spawn(process.execPath, [join(directory, "operator.mjs")], {
      env: {
        KUBECONFIG: kubeconfig,
        KCR_CONFIG: join(directory, "config.yaml"),
        KCR_HEALTH_PORT: String(port),
        KCR_WEBHOOK_PORT: "0",
        POD_NAMESPACE: "kcr-system",
        POD_NAME: "bench",
        KCR_LOG_LEVEL: "warn",
      },
      stdio: ["ignore", log.fd, log.fd],
    });
    await Promise.all([once(child, "spawn"), log.close()]);
    return new OperatorProcess(child, port, path);
  }

  /** Waits for what its metrics say. Errors: an operator that ended, with what it logged last. */
  async until(what: string, probe: (samples: Samples) => boolean, signal: AbortSignal): Promise<Samples> {
    return await waitFor(
      what,
      async () => {
        if (this.#child.exitCode !== null || this.#child.signalCode !== null)
          throw new Error(`the operator ended: ${lastLines(await readFile(this.#log, "utf8"))}`);
        const samples = await this.samples().catch(() => undefined);
        return samples !== undefined && probe(samples) && samples;
      },
      { timeoutMs: 15 * 60_000, intervalMs: 100, signal },
    );
  }

  /** All its metrics now. */
  async samples(): Promise<Samples> {
    const response = await fetch(`http://127.0.0.1:${this.#port}/metrics`);
    return (await response.text()).split("\n").flatMap((line) => {
      const [, name, labels = "", value] = /^([a-z_]+)(\{.*\})? (\S+)$/.exec(line) ?? [];
      return name === undefined ? [] : [{ name, labels, value: Number(value) }];
    });
  }

  /** Resident memory now, in bytes (VmRSS of proc(5)). */
  async residentBytes(): Promise<number> {
    const status = await readFile(`/proc/${this.#child.pid}/status`, "utf8");
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGTERM");
    await exited;
  }
}

/** The sum of all samples of a metric whose labels contain this. */
export function total(samples: Samples, name: string, labels = ""): number {
  return samples
    .filter((sample) => sample.name === name && sample.labels.includes(labels))
    .reduce((sum, { value }) => sum + value, 0);
}
