import type { Checkpoint } from "../../src/api/checkpoint.ts";
import { runtimeID } from "../../src/api/pod.ts";
import { leases, type Pod, pods } from "../../src/kube/resources.ts";
import { RegistryClient } from "../../src/oci/registry.ts";
import { waitFor } from "./wait-for.ts";
import type { World } from "./world.ts";

const NAMESPACE = "kcr-system";
/** The kubelet's checkpoint directory. */
export const ARCHIVES = "/var/lib/kubelet/checkpoints";

/** The kcr that is installed in the cluster of a world, for tests that disturb it and look behind it. */
export class Installation {
  readonly namespace = NAMESPACE;
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  /** The operator's pods that are not being deleted, ready or not. */
  operators(): Promise<Pod[]> {
    return this.#pods("kcr-operator");
  }

  /** The pod of the operator that leads by its Lease, once one does. */
  leader(): Promise<Pod> {
    const { client } = this.#world;
    return waitFor("an operator to lead", async () => {
      const { spec } = await client.get(leases, { namespace: NAMESPACE, name: "kcr-operator" });
      const holder = spec?.holderIdentity?.split("_")[0];
      return (await this.operators()).find((pod) => pod.metadata.name === holder);
    });
  }

  /** An operator that does not lead. */
  async follower(): Promise<Pod> {
    const leader = await this.leader();
    const follower = (await this.operators()).find(({ metadata }) => metadata.uid !== leader.metadata.uid);
    if (follower === undefined) throw new Error("there is but one operator");
    return follower;
  }

  async agent(node: string): Promise<Pod> {
    const agent = (await this.#pods("kcr-agent")).find((pod) => pod.spec?.nodeName === node);
    if (agent === undefined) throw new Error(`no agent on ${node}`);
    return agent;
  }

  /** Sends a signal to the process of one of kcr's pods, from its node. */
  async signal(pod: Pod, signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const id = runtimeID(pod.status?.containerStatuses?.[0]?.containerID);
    if (id === undefined) throw new Error(`pod ${pod.metadata.name} has no container`);
    const kill = ["ctr", "-n", "k8s.io", "tasks", "kill", "-s", signal, id];
    await this.#world.cluster.nodeExec(pod.spec?.nodeName ?? "", kill);
  }

  /** Waits until the process of a pod as it was then has ended, and says how. */
  ended(pod: Pod): Promise<{ exitCode: number; finishedAt?: string }> {
    return waitFor(`${pod.metadata.name} to end`, async () => {
      const { status } = await this.#world.client.get(pods, pod.metadata);
      const container = status?.containerStatuses?.[0];
      return (container?.restartCount ?? 0) > runsOf(pod) && container?.lastState?.terminated;
    });
  }

  /** SIGKILL to the process of one of kcr's pods as soon as a shell's condition holds on its node. */
  async killOnce(pod: Pod, condition: string): Promise<void> {
    await this.onceOn(pod.spec?.nodeName ?? "", condition, `kill -KILL ${await this.#pid(pod)}`);
  }

  /** SIGKILL to a program of a node as soon as a shell's condition holds there; the node starts it again. */
  async killProgramOnce(node: string, program: "containerd" | "kubelet", condition: string): Promise<void> {
    await this.onceOn(node, condition, `kill -KILL $(cat /run/kcr/${program}.pid)`);
  }

  /** The number of the pod's process on its node. */
  async #pid(pod: Pod): Promise<string> {
    const id = runtimeID(pod.status?.containerStatuses?.[0]?.containerID);
    const list = ["ctr", "-n", "k8s.io", "tasks", "list"];
    const tasks = await this.#world.cluster.nodeExec(pod.spec?.nodeName ?? "", list);
    const pid = new RegExp(`^${id}\\s+(\\d+)`, "m").exec(tasks)?.[1];
    if (pid === undefined) throw new Error(`pod ${pod.metadata.name} has no process`);
    return pid;
  }

  /** Runs a command on the node of one of kcr's pods, in the pod's own network. */
  async inNetworkOf(pod: Pod, argv: readonly string[]): Promise<string> {
    const enter = ["nsenter", "--target", await this.#pid(pod), "--net", "--"];
    return await this.#world.cluster.nodeExec(pod.spec?.nodeName ?? "", [...enter, ...argv]);
  }

  /** A metric of one of kcr's pods, as it says itself: of all its series whose labels begin so, added up. */
  async metric({ status }: Pod, series: string): Promise<number> {
    const said = await (await fetch(`http://${status?.podIP}:8081/metrics`)).text();
    const values = said.split("\n").filter((line) => line.startsWith(series));
    return values.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  }

  /** Runs a shell's script on a node as soon as a shell's condition holds there. */
  async onceOn(node: string, condition: string, script: string): Promise<void> {
    const argv = ["timeout", "60", "sh", "-c", `${until(condition)}; ${script}`];
    await this.#world.cluster.nodeExec(node, argv);
  }

  /** Runs `work` while there is neither operator nor agent, and waits until they are back. */
  async withoutAnybody<T>(work: () => Promise<T>): Promise<T> {
    const { cluster } = this.#world;
    const kubectl = (...args: string[]) => cluster.kubectl(["-n", NAMESPACE, ...args]);
    const select = (value: string | null) => {
      const template = { spec: { nodeSelector: { "kcr.test/nowhere": value } } };
      return kubectl("patch", "daemonset/kcr-agent", "-p", JSON.stringify({ spec: { template } }));
    };
    const { length } = await this.operators();
    try {
      await kubectl("scale", "deployment/kcr-operator", "--replicas=0");
      await select("true");
      await waitFor("all of kcr's pods to be gone", async () => {
        const { items } = await this.#world.client.list(pods, { namespace: NAMESPACE });
        return items.every((pod) => !/^kcr-(operator|agent)-/.test(pod.metadata.name));
      });
      return await work();
    } finally {
      await select(null);
      await kubectl("scale", "deployment/kcr-operator", `--replicas=${length}`);
      await this.whole();
    }
  }

  /** Runs `work` while the agent of a node finds no room in one of its directories. */
  async withFullDisk<T>(node: string, directory: string, work: () => Promise<T>): Promise<T> {
    const pid = await this.#pid(await this.agent(node));
    const at = ["-N", `/proc/${pid}/ns/mnt`];
    const { cluster } = this.#world;
    await cluster.nodeExec(node, ["mount", ...at, "-t", "tmpfs", "-o", "size=16k", "tmpfs", directory]);
    try {
      return await work();
    } finally {
      await cluster.nodeExec(node, ["umount", ...at, directory]);
    }
  }

  /**
   * Runs `work` while a small disk of its own is where a directory of a node was, for its runtime and for kcr's agent,
   * which is started again for it; `remount` changes that disk, as `mount -o` does.
   */
  async withDisk(
    node: string,
    directory: string,
    work: (remount: (options: string) => Promise<void>) => Promise<void>,
  ): Promise<void> {
    const { cluster } = this.#world;
    const mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", directory];
    await cluster.nodeExec(node, mount);
    try {
      await this.restartAgent(node);
      await work(async (options) => {
        await cluster.nodeExec(node, ["mount", "-o", options, directory]);
      });
    } finally {
      await cluster.nodeExec(node, ["umount", "-l", directory]);
      await this.restartAgent(node);
    }
  }

  /** Changes how a mount of a node can be used, and the same mount of its agent. */
  async remount(node: string, directory: string, options: string): Promise<void> {
    const { cluster } = this.#world;
    const pid = await this.#pid(await this.agent(node));
    for (const at of [[], ["-N", `/proc/${pid}/ns/mnt`]]) {
      await cluster.nodeExec(node, ["mount", ...at, "-o", options, directory]);
    }
  }

  /** Ends an agent's process and waits until another runs in its pod. */
  async restartAgent(node: string): Promise<void> {
    const agent = await this.agent(node);
    await this.signal(agent, "SIGTERM");
    await this.ended(agent);
    await this.whole();
  }

  /** SIGKILL to every operator at once. */
  async killOperators(): Promise<void> {
    await Promise.all((await this.operators()).map((pod) => this.signal(pod, "SIGKILL")));
  }

  /** Ends every operator's process as a shutdown would, and waits until others run in the same pods. */
  async restartOperators(): Promise<void> {
    const before = await this.operators();
    await Promise.all(before.map((pod) => this.signal(pod, "SIGTERM")));
    await waitFor("all operators to be started again", async () =>
      (await this.operators()).every((pod) => {
        const old = before.find(({ metadata }) => metadata.uid === pod.metadata.uid);
        return runsOf(pod) > (old === undefined ? -1 : runsOf(old));
      }),
    );
    await this.whole();
  }

  /**
   * Waits until kcr's pods see a file of Secret kcr-registry as it is now. The nodes would look for a change once a
   * minute; they look at once at a pod that was changed.
   */
  async seesSecret(file: string, content: string): Promise<void> {
    const { cluster } = this.#world;
    const all = [...(await this.operators()), ...(await this.#pods("kcr-agent"))];
    const names = all.map(({ metadata }) => `pod/${metadata.name}`);
    const change = `kcr.test/refreshed=${Date.now()}`;
    await cluster.kubectl(["-n", NAMESPACE, "annotate", "--overwrite", ...names, change]);
    for (const { metadata, spec } of all) {
      const path = `/var/lib/kubelet/pods/${metadata.uid}/volumes/kubernetes.io~secret/registry/${file}`;
      await waitFor(
        `${metadata.name} to see ${file} as it is`,
        async () => (await cluster.nodeExec(spec?.nodeName ?? "", ["cat", path])) === content,
        { timeoutMs: 120_000 },
      );
    }
  }

  /** Makes all pods of a part anew, as after a change of what they read when they start, and waits for them. */
  async restart(part: "deployment/kcr-operator" | "daemonset/kcr-agent"): Promise<void> {
    await this.#world.cluster.kubectl(["-n", NAMESPACE, "rollout", "restart", part]);
    await this.#rolledOut(part);
  }

  /** Waits until every part is ready. */
  async whole(): Promise<void> {
    await this.#rolledOut("deployment/kcr-operator");
    await this.#rolledOut("daemonset/kcr-agent");
    for (const name of ["kcr-operator", "kcr-agent"]) {
      await waitFor(`${name} to be ready`, async () =>
        (await this.#pods(name)).every((pod) =>
          pod.status?.conditions?.some((c) => c.type === "Ready" && c.status === "True"),
        ),
      );
    }
  }

  /** File names in the kubelet's checkpoint directory. */
  async archives(node: string): Promise<string[]> {
    const listed = await this.#world.cluster.nodeExec(node, [
      "sh",
      "-c",
      `ls ${ARCHIVES} 2>/dev/null || true`,
    ]);
    return listed.split("\n").filter(Boolean);
  }

  /** File names of the archives of this world's namespace. */
  async ownArchives(node: string): Promise<string[]> {
    const all = await this.archives(node);
    return all.filter((name) => name.includes(`_${this.#world.namespace}-`));
  }

  /** Keeps an archive from being lost with its name, and gives the path of what is kept. */
  async keepArchive(node: string, name: string): Promise<string> {
    const kept = `/var/lib/kubelet/kept-${name}`;
    await this.#world.cluster.nodeExec(node, ["ln", "-f", `${ARCHIVES}/${name}`, kept]);
    return kept;
  }

  /** The digest of a file on a node. */
  async digest(node: string, path: string): Promise<string> {
    const said = await this.#world.cluster.nodeExec(node, ["sha256sum", path]);
    return `sha256:${said.split(" ")[0]}`;
  }

  /** Stops the cluster's registry in the middle of what it does, or lets it go on; once a shell's condition holds. */
  async signalRegistry(signal: "STOP" | "CONT", condition = "true"): Promise<void> {
    await this.onceOn("control-plane", condition, `kill -${signal} $(cat /run/kcr/registry.pid)`);
  }

  /** The addresses that have connections to the cluster's registry. */
  async registryClients(): Promise<string[]> {
    const port = this.#world.cluster.registry.push.split(":")[1];
    const list = ["ss", "-Htn", "state", "established", `( sport = :${port} )`];
    const said = await this.#world.cluster.nodeExec("control-plane", list);
    return [...said.matchAll(/(\d+\.\d+\.\d+\.\d+)\]?:\d+\s*$/gm)].map(([, address = ""]) => address);
  }

  /** A client of the cluster's own registry. */
  registry(): RegistryClient {
    const { registry } = this.#world.cluster;
    return new RegistryClient({ address: registry.push, plainHttp: true, userAgent: "kcr-test" });
  }

  /** The layers of a Checkpoint's image as the cluster's registry has it; undefined when it has none. */
  async layersOf({ status }: Checkpoint): Promise<string[] | undefined> {
    await using registry = this.registry();
    const { checkpointImage: repository = "", imageDigest = "" } = status ?? {};
    if ((await registry.headManifest(repository, imageDigest)) === undefined) return undefined;
    const { bytes } = await registry.getManifest(repository, imageDigest);
    const { layers } = JSON.parse(bytes.toString()) as { layers: { digest: string }[] };
    return layers.map((layer) => layer.digest);
  }

  async #rolledOut(part: string): Promise<void> {
    const wait = ["-n", NAMESPACE, "rollout", "status", part, "--timeout=120s"];
    await this.#world.cluster.kubectl(wait);
  }

  async #pods(name: string): Promise<Pod[]> {
    const { items } = await this.#world.client.list(pods, {
      namespace: NAMESPACE,
      labelSelector: `app.kubernetes.io/name=${name}`,
    });
    return items.filter((pod) => pod.metadata.deletionTimestamp === undefined);
  }
}

/** How often the container of one of kcr's pods was started again. */
export const runsOf = (pod: Pod): number => pod.status?.containerStatuses?.[0]?.restartCount ?? 0;

/** A shell's way of waiting, close enough to what it waits for that there is still time to disturb it. */
const until = (condition: string): string => `until ${condition} >/dev/null 2>&1; do sleep 0.01; done`;
