import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { stringify } from "yaml";
import { copyOf, hasCopy } from "../../src/agent/plan/copies.ts";
import type { Checkpoint } from "../../src/api/checkpoint.ts";
import { DOWNLOAD_NAMESPACE } from "../../src/api/download.ts";
import { checkpoints, isGood } from "../../src/api/kinds.ts";
import { NODES_NAMESPACE } from "../../src/api/node-account.ts";
import { findContainer, runtimeID, statusOf } from "../../src/api/pod.ts";
import { Client } from "../../src/kube/client.ts";
import { isNotFound } from "../../src/kube/errors.ts";
import { leases, namespaces, nodes, type Pod, pods } from "../../src/kube/resources.ts";
import { delay } from "../../src/kube/signals.ts";
import { RegistryClient } from "../../src/oci/registry.ts";
import { PROBE_LABEL } from "../../src/operator/restore/pull-probe.ts";
import { Layout } from "../../src/store/layout.ts";
import { NOTE_VERSION } from "../../src/store/notes.ts";
import { type Candidate, type Plan, parsePlan } from "../../src/store/plan.ts";
import { formatLast, LAST, type RunState, STATE, STATE_VERSION } from "../../src/store/runs.ts";
import { startApiServer } from "../support/apiserver.ts";
import { writeCheckpoint } from "../support/archive.ts";
import { installCrds } from "../support/crds.ts";
import { PAGE, pagemapImage } from "../support/criu.ts";
import { type CheckpointAnswer, type CheckpointCall, standInKubelet } from "../support/kubelet.ts";
import { makeNamespace } from "../support/namespace.ts";
import { startRegistry, type TestRegistry } from "../support/registry.ts";
import { installRuntimeClasses } from "../support/runtime-classes.ts";
import { waitFor } from "../support/wait-for.ts";
import { Undying } from "./undying.ts";

const SYSTEM = "kcr-system";
export const NODE = "node-1";
export const OTHER_NODE = "node-2";
export const IMAGE = "registry.example/app:1";
export const BASE = `registry.example/app@sha256:${"d".repeat(64)}`;
const PATIENCE = { timeoutMs: 300_000, intervalMs: 100 };
const PULL = "registry.example:5000";

/**
 * The whole of kcr around a node that is played: a real API server, a real registry, the operator and the agent as
 * processes that are killed at every write; what the kubelet, the handler and the garbage collector do is done here.
 */
export class Stage implements AsyncDisposable {
  readonly client: Client;
  readonly registry: TestRegistry;
  readonly layout: Layout;
  readonly archives: string;
  readonly namespace: string;
  /** What the kubelet does; by default it dumps. */
  answer: (call: CheckpointCall) => Promise<CheckpointAnswer> = (call) => this.dump(call);
  /** The pods that were dumped, each as often as it was. */
  readonly dumped: string[] = [];
  /** What did not hold while one of the programs was dead. */
  readonly broken: string[] = [];
  readonly #cleanup: AsyncDisposableStack;
  readonly #programs = new Map<"operator" | "agent", Undying>();

  private constructor(
    given: Pick<Stage, "client" | "registry" | "layout" | "archives" | "namespace">,
    cleanup: AsyncDisposableStack,
  ) {
    this.client = given.client;
    this.registry = given.registry;
    this.layout = given.layout;
    this.archives = given.archives;
    this.namespace = given.namespace;
    this.#cleanup = cleanup;
  }

  static async set(): Promise<Stage> {
    await using cleanup = new AsyncDisposableStack();
    const directory = await mkdtemp(join(tmpdir(), "kcr-crash-"));
    cleanup.defer(() => rm(directory, { recursive: true, force: true }));
    const [api, registry] = await Promise.all([startApiServer(), startRegistry()]);
    cleanup.defer(() => api.stop());
    cleanup.defer(() => registry.stop());
    const client = Client.fromConfig({ kubeconfig: api.kubeconfig });
    cleanup.defer(() => client.close());
    await Promise.all([installCrds(client), installRuntimeClasses(client)]);
    for (const name of [SYSTEM, NODES_NAMESPACE, DOWNLOAD_NAMESPACE]) {
      await client.create(namespaces, { metadata: { name } });
    }
    const root = join(directory, "node");
    const archives = join(root, "checkpoints");
    await mkdir(archives, { recursive: true });
    const layout = new Layout(join(root, "kcr"));
    // The agent before has ended as it should.
    await mkdir(dirname(layout.clean), { recursive: true });
    await writeFile(layout.clean, "");
    const namespace = await makeNamespace(client, "shop");
    const stage: Stage = new Stage({ client, registry, layout, archives, namespace }, cleanup.move());

    const kubelet = await standInKubelet(directory, (call) => stage.answer(call));
    stage.#cleanup.defer(() => kubelet.close());
    for (const name of [NODE, OTHER_NODE]) await stage.#join(name);
    const config = join(directory, "config.yaml");
    await writeFile(
      config,
      stringify({
        registry: { push: registry.address, pull: PULL, plainHttp: true },
        kubelet: {
          port: kubelet.options.port,
          caFile: kubelet.options.caFile,
          checkpointDirectory: archives,
        },
        local: { directory: layout.root, sharePages: true },
        // So that of two one waits for its turn.
        limits: { perNode: 1 },
        transfer: { enabled: false },
      }),
    );
    const common = { KUBECONFIG: api.kubeconfig, KCR_CONFIG: config };
    const begin = async (program: "operator" | "agent", env: Record<string, string>) => {
      const onKilled = (moment: string) => stage.#look(program, moment);
      const undying = await Undying.start({ program, directory, root, env: { ...common, ...env }, onKilled });
      stage.#programs.set(program, undying);
      stage.#cleanup.use(undying);
    };
    stage.#play();
    await begin("operator", { POD_NAMESPACE: SYSTEM, POD_NAME: "operator", KCR_WEBHOOK_PORT: "0" });
    await begin("agent", { NODE_NAME: NODE, HOST_IP: "127.0.0.1" });
    return stage;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#cleanup.disposeAsync();
  }

  /** Tells both programs to end, and waits until they have. */
  async end(): Promise<void> {
    await Promise.all(this.#programs.values().map((program) => program.stop()));
  }

  /** The moments at which a program was killed. */
  killed(program: "operator" | "agent"): Promise<string[]> {
    return this.#programs.get(program)!.killed();
  }

  /** Waits until a program was killed at that moment, and is there again. */
  async survived(program: "operator" | "agent", moment: string): Promise<void> {
    await this.until(`the ${program} to be killed ${moment}`, async () =>
      (await this.killed(program)).includes(moment),
    );
    await this.until(`the ${program} to be there again`, () => this.#programs.get(program)!.isReady());
  }

  /** Waits for something, as long as both programs live on whenever they are killed. */
  async until<T>(what: string, probe: () => Promise<T | undefined | false>): Promise<T> {
    const looked = async () => {
      for (const program of this.#programs.values()) {
        if (program.failure !== undefined) return { failure: program.failure };
      }
      const value = await probe();
      return value !== undefined && value !== false && { value };
    };
    const seen = await waitFor(what, looked, PATIENCE).catch(async (cause: unknown) => {
      const last = await Promise.all(
        this.#programs.entries().map(async ([name, program]) => `${name} ${(await program.killed()).at(-1)}`),
      );
      throw new Error(`${(cause as Error).message}; killed last: ${last.join(", ")}`, { cause });
    });
    if ("failure" in seen) throw seen.failure;
    return seen.value;
  }

  async #join(name: string): Promise<void> {
    const node = await this.client.create(nodes, { metadata: { name } });
    const nodeInfo = {
      ...node.status?.nodeInfo,
      architecture: "amd64",
      containerRuntimeVersion: "containerd://2.3.1",
    };
    const body = { status: { conditions: [{ type: "Ready", status: "True" }], nodeInfo } };
    await this.client.patch(nodes, node.metadata, { type: "strategic", body }, { subresource: "status" });
  }

  /** What kubelets do with pull probes: they pull, and have nothing to run. */
  #play(): void {
    const stop = new AbortController();
    const probes = async (): Promise<void> => {
      const labelSelector = PROBE_LABEL;
      const { items } = await this.client.list(pods, { namespace: SYSTEM, labelSelector });
      for (const { metadata, status } of items) {
        if (status?.containerStatuses !== undefined) continue;
        const state = { waiting: { reason: "CreateContainerError" } };
        const body = { status: { containerStatuses: [{ name: "probe", state, restartCount: 0 }] } };
        await this.client
          .patch(pods, metadata, { type: "strategic", body }, { subresource: "status" })
          .catch(ignoreNotFound);
      }
    };
    const playing = (async () => {
      for (;;) {
        await probes().catch(() => {});
        await delay(200, stop.signal);
      }
    })().catch(() => {});
    this.#cleanup.defer(async () => {
      stop.abort();
      await playing;
    });
  }

  /** What has to hold whenever a program is dead. */
  async #look(program: "operator" | "agent", moment: string): Promise<void> {
    const say = (what: string) => this.broken.push(`${program} ${moment}: ${what}`);
    // Nobody renews it: how long others wait for its end is not what is tried here.
    if (program === "operator")
      await this.client.delete(leases, { namespace: SYSTEM, name: "kcr-operator" }).catch(ignoreNotFound);
    if (program === "agent") {
      for (const podUID of await readdir(this.layout.plans).catch(() => [])) {
        for (const file of await readdir(join(this.layout.plans, podUID)).catch(() => [])) {
          if (!file.endsWith(".json") || file.startsWith(".")) continue;
          const text = await readFile(join(this.layout.plans, podUID, file), "utf8");
          if (parsePlan(text) === undefined) say(`plan ${podUID}/${file} is not whole`);
        }
      }
    }
    for (const { metadata } of (await this.client.list(checkpoints, { namespace: this.namespace })).items) {
      if (metadata.name.startsWith("far")) continue;
      // The other program goes on meanwhile: what is missing has to be missing twice.
      const isLost = async () => {
        const now = await this.client.get(checkpoints, metadata).catch(ignoreNotFound);
        return (
          now !== undefined && now.metadata.deletionTimestamp === undefined && !(await this.#hasBytes(now))
        );
      };
      if ((await isLost()) && (await isLost())) say(`Checkpoint ${metadata.name} has lost its bytes`);
    }
  }

  /** Whether what a Checkpoint was taken for is anywhere, and where it says. */
  async #hasBytes(checkpoint: Checkpoint): Promise<boolean> {
    const { status, spec } = checkpoint;
    const copy = copyOf(checkpoint);
    const isCopied = copy !== undefined && (await hasCopy(this.layout, copy));
    const isPushed = status?.imageDigest !== undefined && (await this.manifest(checkpoint)) !== undefined;
    const isArchived = (await readdir(this.archives)).includes(spec.checkpointData);
    return isGood(checkpoint) ? isCopied || isPushed : isCopied || isPushed || isArchived;
  }

  /** The digest of a Checkpoint's image, as the registry has it. */
  async manifest({ status }: Checkpoint): Promise<string | undefined> {
    await using registry = new RegistryClient({
      address: this.registry.address,
      plainHttp: true,
      userAgent: "kcr-test",
    });
    const { checkpointImage = "", imageDigest = "" } = status ?? {};
    return (await registry.headManifest(checkpointImage, imageDigest))?.digest;
  }

  /** Writes an archive as the kubelet does. Two of the same run have one page of two in common. */
  async dump(call: CheckpointCall): Promise<CheckpointAnswer> {
    const pod = await this.client.get(pods, { namespace: call.namespace, name: call.pod });
    this.dumped.push(call.pod);
    const time = new Date().toISOString();
    const name = `checkpoint-${call.pod}_${call.namespace}-${call.container}-${time}.tar`;
    const containerId = runtimeID(statusOf(pod, call.container)?.containerID) ?? "";
    await writeCheckpoint(join(this.archives, name), {
      podName: call.pod,
      podNamespace: call.namespace,
      podUid: pod.metadata.uid,
      containerName: call.container,
      containerId,
      more: [
        pagemapImage("pagemap-1.img", 1, [{ address: BigInt(PAGE), pages: 2 }]),
        // No two are the same.
        { name: "checkpoint/pages-1.img", content: containerId.padEnd(PAGE) + time.padEnd(PAGE) },
      ],
    });
    return { status: 200, body: JSON.stringify({ items: [join("/var/lib/kubelet/checkpoints", name)] }) };
  }

  /** A pod with a running container `app`, labelled `app=<name>`. */
  async pod(name: string, more: { runtimeClassName?: string; annotations?: Record<string, string> } = {}) {
    const { runtimeClassName, annotations } = more;
    const pod = await this.client.create(pods, {
      metadata: { name, namespace: this.namespace, labels: { app: name }, annotations },
      spec: { nodeName: NODE, runtimeClassName, containers: [{ name: "app", image: IMAGE }] },
    } as Pod);
    if (runtimeClassName !== undefined) await this.#created(pod, `${name}-0`);
    await this.run(pod, 0);
    return pod;
  }

  /** A pod of the download part, ready. */
  async downloadPart(): Promise<void> {
    const labels = { "app.kubernetes.io/name": "kcr-download" };
    const { metadata } = await this.client.create(pods, {
      metadata: { namespace: DOWNLOAD_NAMESPACE, name: "download", labels },
      spec: { nodeName: NODE, containers: [{ name: "download", image: IMAGE }] },
    } as Pod);
    const body = { status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }] } };
    await this.client.patch(pods, metadata, { type: "strategic", body }, { subresource: "status" });
  }

  podNow = (pod: Pod): Promise<Pod> => this.client.get(pods, pod.metadata);
  imageNow = async (pod: Pod): Promise<string> => findContainer(await this.podNow(pod), "app")?.image ?? "";

  /** A run of the container, as the kubelet reports it; every one but the first came after one that was killed. */
  async run(pod: Pod, restartCount: number): Promise<void> {
    const { metadata } = pod;
    const id = (run: number) => `containerd://${metadata.name}-${run}`;
    const terminated = { exitCode: 137, reason: "Error", containerID: id(restartCount - 1) };
    const status = {
      name: "app",
      image: IMAGE,
      imageID: BASE,
      ready: true,
      restartCount,
      containerID: id(restartCount),
      state: { running: { startedAt: new Date().toISOString() } },
      ...(restartCount === 0 ? {} : { lastState: { terminated } }),
    };
    const body = { status: { phase: "Running", observedGeneration: 1000, containerStatuses: [status] } };
    await this.client.patch(pods, metadata, { type: "strategic", body }, { subresource: "status" });
  }

  key = (pod: Pod) => ({ podUID: pod.metadata.uid ?? "", container: "app" });
  plan = async (pod: Pod): Promise<Plan | undefined> =>
    parsePlan(await readFile(this.layout.plan(this.key(pod)), "utf8").catch(() => ""));

  /** The container restarts, and the handler restores it from what its plan names: of its candidates the one of that name. */
  async restore(pod: Pod, run: number, name: string, note: object = {}): Promise<void> {
    const plan = await this.plan(pod);
    const candidate = [plan?.armed?.candidate, ...(plan?.candidates ?? [])].find(
      (c) => c?.checkpoint === name,
    );
    if (candidate === undefined) throw new Error(`the plan does not name ${name}: ${JSON.stringify(plan)}`);
    await this.restored(pod, run, candidate, note);
  }

  /** The container was restarted, and restored from that. */
  async restored(pod: Pod, run: number, from: Candidate, note: object = {}): Promise<void> {
    const { name, namespace, uid: podUID } = pod.metadata;
    const [id, time] = [`${name}-${run}`, new Date()];
    const state: RunState = {
      version: STATE_VERSION,
      chain: [`${name}-0`, id],
      restoredFrom: from,
      crashes: {},
      passedOver: [],
      used: [],
    };
    await this.#put(join(this.layout.run(this.key(pod)), STATE), JSON.stringify(state));
    await this.#created(pod, id);
    await this.#put(
      join(this.layout.notes(this.key(pod)), `${time.getTime()}-${id}.json`),
      JSON.stringify({
        ...{ version: NOTE_VERSION, podUID, namespace, pod: name, container: "app", containerID: id },
        ...{ time: time.toISOString(), cause: "exit code 137", failed: [], type: "restored" },
        ...{ checkpoint: from.checkpoint, checkpointUID: from.uid, ageMs: 1, tookMs: 1 },
        ...note,
      }),
    );
    await this.run(pod, run);
  }

  /** The handler has created a container. */
  #created = (pod: Pod, id: string): Promise<void> =>
    this.#put(
      join(this.layout.run(this.key(pod)), LAST),
      formatLast({ id, sandbox: "s", createdMs: Date.now() }),
    );

  /** Writes a file as the handler does: whole. */
  async #put(path: string, text: string): Promise<void> {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(`${path}.1`, text);
    await rename(`${path}.1`, path);
  }
}

function ignoreNotFound(error: unknown): undefined {
  if (isNotFound(error)) return undefined;
  throw error;
}
