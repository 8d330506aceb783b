import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { link, mkdir, open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { lastLines } from "../../cluster/run.ts";
import { bundle } from "../../scripts/build.ts";
import { Archives } from "../../src/agent/archives.ts";
import { checkpointFor, createdStatus } from "../../src/agent/dump/checkpoint.ts";
import { inspect } from "../../src/agent/inspect.ts";
import { ARCHIVE_FINALIZER, type Checkpoint } from "../../src/api/checkpoint.ts";
import { FIELD_MANAGER } from "../../src/api/group.ts";
import { checkpoints, isGood, requests } from "../../src/api/kinds.ts";
import { Client } from "../../src/kube/client.ts";
import { namespaces } from "../../src/kube/resources.ts";
import { writeStatus } from "../../src/kube/write.ts";
import { installCrds } from "../../test/support/crds.ts";
import { waitFor } from "../../test/support/wait-for.ts";
import { peakMemory } from "./peak-memory.ts";

/** What it cost an agent to turn one archive into an image and to let go of the archive. */
export interface AgentCost {
  /** From taking up the Checkpoint until that says ImageBuilt. */
  milliseconds: number;
  /** The most memory that the agent's process has ever held (VmHWM of proc(5)), from its start on. */
  peakBytes: number;
  /** Of the archive, as it is in the registry by the agent's account. */
  digest: string | undefined;
}

const NODE = "bench-node";
const PATIENCE = { timeoutMs: 30 * 60_000, intervalMs: 50 };

/** Where agents are run: an API server with kcr's kinds, a bundle as in kcr's image, settings, and a directory. */
export class AgentStage implements Disposable {
  readonly #client: Client;
  readonly #archives: Archives;
  readonly #program: string;
  readonly #log: string;
  readonly #environment: NodeJS.ProcessEnv;

  private constructor(client: Client, directory: string, environment: NodeJS.ProcessEnv) {
    this.#client = client;
    this.#archives = new Archives(checkpointDirectory(directory));
    this.#program = join(directory, "agent.mjs");
    this.#log = join(directory, "agent.log");
    this.#environment = environment;
  }

  /**
   * `directory` is made, and has to be on the file system of the archives. `kubeconfig` is a path, of an
   * administrator's.
   */
  static async set(options: { directory: string; kubeconfig: string; push: string }): Promise<AgentStage> {
    const { directory, kubeconfig, push } = options;
    await mkdir(checkpointDirectory(directory), { recursive: true });
    await bundle(directory);
    const config = join(directory, "config.yaml");
    const settings = {
      registry: { push, plainHttp: true },
      kubelet: { checkpointDirectory: checkpointDirectory(directory) },
    };
    await writeFile(config, stringify(settings));
    const client = Client.fromConfig({ kubeconfig });
    await installCrds(client);
    return new AgentStage(client, directory, {
      NODE_NAME: NODE,
      HOST_IP: "127.0.0.1",
      KCR_CONFIG: config,
      KCR_HEALTH_PORT: "0",
      KUBECONFIG: kubeconfig,
    });
  }

  /**
   * Runs an agent from its start until it has made an image of this archive and let go of it. It is given a link
   * to the archive; the archive itself stays.
   *
   * Errors: an agent that ends, or whose Checkpoint fails, with what it logged; a Checkpoint that is not good.
   */
  async run(archive: string, signal: AbortSignal): Promise<AgentCost> {
    const log = await open(this.#log, "w");
    const agent = spawn(process.execPath, [this.#program], {
      env: this.#environment,
      stdio: ["ignore", log.fd, log.fd],
    });
    try {
      await Promise.all([once(agent, "spawn"), log.close()]);
      const checkpoint = await this.#checkpointOf(archive);
      const reached = (what: string, condition: (now: Checkpoint) => boolean) =>
        this.#until(agent, checkpoint, what, condition, signal);
      await reached("be taken up", ({ status }) => status?.phase !== "Created");
      const start = performance.now();
      await reached("be built", ({ status }) => status?.phase === "ImageBuilt");
      const milliseconds = performance.now() - start;
      const last = await reached(
        "be released",
        ({ metadata }) => !metadata.finalizers?.includes(ARCHIVE_FINALIZER),
      );
      if (!isGood(last)) throw new Error(`the Checkpoint is not good: ${JSON.stringify(last.status)}`);
      return { milliseconds, peakBytes: await peakMemory(agent.pid!), digest: last.status?.digest };
    } finally {
      await end(agent);
    }
  }

  /** Puts an archive where the kubelet would have, and makes its Checkpoint as the agent does after a dump. */
  async #checkpointOf(archive: string): Promise<Checkpoint> {
    const client = this.#client;
    const startTime = new Date();
    const file = `checkpoint-archive-${startTime.toISOString()}.tar`;
    await link(archive, this.#archives.path(file));
    const captured = await inspect(this.#archives, file);
    const { podNamespace = "", podName = "", podUid = "", containerName, containerId } = captured.identity;
    const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: podNamespace } };
    await client.apply(namespaces, namespace, { fieldManager: FIELD_MANAGER });
    const request = await client.create(requests, {
      metadata: { name: `bench-${startTime.getTime()}`, namespace: podNamespace },
      spec: { podReference: { name: podName } },
    });
    const source = {
      lineage: { podUID: podUid, containerID: containerId, restartCount: 0 },
      defaultContainer: containerName,
      repository: `kcr/${podNamespace}/checkpoint-${podName}-${containerName}`,
    };
    const parts = { request: { ...request, status: { containerName } }, source, captured, startTime };
    const wanted = checkpointFor({ ...parts, node: NODE, schedule: undefined }, true);
    const created = await client.create(checkpoints, wanted);
    const status = createdStatus(source, captured, captured.facts, startTime);
    return await writeStatus(client, checkpoints, created, status);
  }

  async #until(
    agent: ChildProcess,
    { metadata }: Checkpoint,
    what: string,
    condition: (now: Checkpoint) => boolean,
    signal: AbortSignal,
  ): Promise<Checkpoint> {
    const over = () => agent.exitCode !== null || agent.signalCode !== null;
    const seen = await waitFor(
      `the Checkpoint to ${what}`,
      async () => {
        const now = await this.#client.get(checkpoints, metadata, { signal });
        return (over() || now.status?.phase === "Failed" || condition(now)) && now;
      },
      { ...PATIENCE, signal },
    );
    if (condition(seen) && !over()) return seen;
    const said = lastLines(await readFile(this.#log, "utf8"));
    throw new Error(
      `the Checkpoint did not ${what}: ${seen.status?.failedReason ?? "the agent ended"}\n${said}`,
    );
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

const checkpointDirectory = (directory: string): string => join(directory, "checkpoints");

async function end(agent: ChildProcess): Promise<void> {
  if (agent.pid === undefined || agent.exitCode !== null || agent.signalCode !== null) return;
  const exited = once(agent, "exit");
  agent.kill("SIGTERM");
  await exited;
}
