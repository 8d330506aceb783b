import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { lastLines } from "../../../cluster/run.ts";
import type { Deployment } from "../../../src/kube/resources.ts";
import { freePort } from "../../../test/support/free-ports.ts";
import { waitFor } from "../../../test/support/wait-for.ts";

/** One sample of a metric: its labels as Prometheus writes them, and its value. */
export type Samples = ReadonlyArray<{ name: string; labels: string; value: number }>;

/** Requests in three seconds that are no more than a Lease's renewals. */
const QUIET_MS = 3000;
const QUIET_REQUESTS = 6;

/** The operator as it ships, as a process of its own. */
export class OperatorProcess {
  readonly #child: ChildProcess;
  readonly #url: string;
  readonly #log: string;

  private constructor(child: ChildProcess, url: string, log: string) {
    this.#child = child;
    this.#url = url;
    this.#log = log;
  }

  /** `directory` holds `operator.mjs` and its `config.yaml`. */
  static async start(directory: string, kubeconfig: string): Promise<OperatorProcess> {
    const path = join(directory, "operator.log");
    const log = await open(path, "a");
    const port = await freePort();
    const child = spawn(process.execPath, [join(directory, "operator.mjs")], {
      env: {
        NODE_OPTIONS: await nodeOptions(),
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
    return new OperatorProcess(child, `http://127.0.0.1:${port}`, path);
  }

  /** Waits until all its caches have their first whole picture. */
  async ready(signal: AbortSignal): Promise<void> {
    await this.#until("the operator to be ready", signal, 100, async () => {
      const { ok } = await fetch(`${this.#url}/readyz`);
      return ok;
    });
  }

  /** Waits for what its metrics say: seldom, for at each look it counts all its objects. */
  async until(what: string, probe: (samples: Samples) => boolean, signal: AbortSignal): Promise<Samples> {
    return await this.#until(what, signal, 500, async () => {
      const samples = await this.samples();
      return probe(samples) && samples;
    });
  }

  /** Waits until it asks the API server for nothing more than its Lease. */
  async quiet(signal: AbortSignal): Promise<void> {
    let asked = Number.NEGATIVE_INFINITY;
    await this.#until("the operator to have nothing to do", signal, QUIET_MS, async () => {
      const samples = await this.samples();
      const now = total(samples, "rest_client_requests_total");
      const isQuiet = now - asked <= QUIET_REQUESTS && total(samples, "workqueue_depth") === 0;
      asked = now;
      return isQuiet;
    });
  }

  /** All its metrics now. */
  async samples(): Promise<Samples> {
    const response = await fetch(`${this.#url}/metrics`);
    return (await response.text()).split("\n").flatMap((line) => {
      const [, name, labels = "", value] = /^([a-z_]+)(\{.*\})? (\S+)$/.exec(line) ?? [];
      return name === undefined ? [] : [{ name, labels, value: Number(value) }];
    });
  }

  /** Resident memory in bytes: now, and the most there ever was (VmRSS and VmHWM of proc(5)). */
  async residentBytes(): Promise<{ now: number; most: number }> {
    const status = await readFile(`/proc/${this.#child.pid}/status`, "utf8");
    const field = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1]) * 1024;
    return { now: field("VmRSS"), most: field("VmHWM") };
  }

  async stop(): Promise<void> {
    if (this.#ended) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGTERM");
    await exited;
  }

  get #ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Errors: an operator that ended, with what it logged last. */
  async #until<T>(
    what: string,
    signal: AbortSignal,
    intervalMs: number,
    probe: () => Promise<T | false>,
  ): Promise<T> {
    let ended = false;
    const seen = await waitFor(
      what,
      async () => {
        ended = this.#ended;
        return ended ? { value: undefined } : await probe().then((value) => value !== false && { value });
      },
      { timeoutMs: 15 * 60_000, intervalMs, signal },
    );
    if (ended) throw new Error(`the operator ended: ${lastLines(await readFile(this.#log, "utf8"))}`);
    return seen.value as T;
  }
}

/** What the operator's Deployment gives Node. */
async function nodeOptions(): Promise<string> {
  const file = new URL("../../../config/operator/deployment.yaml", import.meta.url);
  const [deployment] = parseAllDocuments(await readFile(file, "utf8"))
    .map((document) => document.toJS() as Deployment)
    .filter(({ kind }) => kind === "Deployment");
  const env = deployment?.spec?.template.spec?.containers[0]?.env;
  return env?.find(({ name }) => name === "NODE_OPTIONS")?.value ?? "";
}

/** The sum of all samples of a metric whose labels contain this. */
export function total(samples: Samples, name: string, labels = ""): number {
  return samples
    .filter((sample) => sample.name === name && sample.labels.includes(labels))
    .reduce((sum, { value }) => sum + value, 0);
}
