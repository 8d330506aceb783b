import { mkdir, readdir, readFile, rename, rm, statfs, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { apiGet } from "./api.ts";
import { type BinaryPart, ensureBinaries, whyNotCluster } from "./binaries.ts";
import { hostCgroups, removeCgroup, removeCgroupIfEmpty } from "./cgroups.ts";
import {
  apiUrl,
  controlPlaneFiles,
  type Keys,
  kubeconfigOf,
  registryName,
  registryPort,
  subjects,
  workerFiles,
} from "./config.ts";
import { ensurePackages } from "./debian.ts";
import { clusterImages, imageReference, pushImage } from "./images.ts";
import { withLock } from "./lock.ts";
import { removeNetns } from "./netns.ts";
import { ensureNetwork, hostRoutes, removeHostLink } from "./network.ts";
import {
  endProcesses,
  ensureNode,
  inNode,
  logPath,
  type NodeSpec,
  nodeCgroup,
  nodeDir,
  nodeExec,
  programStart,
  startNode,
  stopNode,
} from "./node.ts";
import { cacheDir, clustersDir, runDir } from "./paths.ts";
import { createAuthority, createKey, issue } from "./pki.ts";
import { type ClusterPlan, type ContainerdVersion, checkName, freeIndex, planCluster } from "./plan.ts";
import { type Progress, silent } from "./progress.ts";
import { ensureRootfs } from "./rootfs.ts";
import { lastLines, type RunOptions, run } from "./run.ts";
import { until } from "./wait.ts";

/**
 * Local clusters: a control plane (etcd, API server, controller manager, scheduler, registry) and workers, each a
 * node of node.ts on the network of network.ts. Several, of different names, can be up side by side.
 */

export interface ClusterOptions {
  /** Default `kcr`. */
  name?: string;
  progress?: Progress;
  signal?: AbortSignal;
}

export interface UpOptions extends ClusterOptions {
  /** A worker for each, in order. Default: what the cluster has, one with 2.3 if it is new. */
  containerd?: readonly ContainerdVersion[];
  /** The longest wait between restarts of a crashing container. Default: what the cluster has, `1s` if it is new. */
  maxRestartPeriod?: string;
}

/** A program of a node: `registry` for one of the control plane, `worker-1/kubelet` for one of a worker. */
export type Part = string;

export interface Cluster {
  readonly name: string;
  /** Path of an administrator's kubeconfig. */
  readonly kubeconfigPath: string;
  readonly registry: {
    /** `ip:port`, plain HTTP, for the host and for pods. */
    readonly push: string;
    /** The name by which the nodes' containerd knows it. */
    readonly pull: string;
  };
  /** The address at which nodes and pods reach this machine. */
  readonly hostAddress: string;
  readonly nodes: readonly { name: string; ip: string; containerd: ContainerdVersion }[];
  /** Names of the images that tests and demo may run. */
  readonly images: { busybox: string; redis: string; pause: string };
  /** Path of the kubectl of the cluster's version. */
  kubectlPath(): Promise<string>;
  /** Runs kubectl as administrator and returns its standard output. */
  kubectl(args: readonly string[], options?: RunOptions): Promise<string>;
  /** Runs a command in a node, with all of the node's programs on its PATH; returns its standard output. */
  nodeExec(node: string, argv: readonly string[], options?: RunOptions): Promise<string>;
  /** The host's command line that runs another in a node, for one that wants a terminal. */
  nodeCommand(node: string, argv: readonly string[]): Promise<string[]>;
  /** Where a node's directory for data of one kind lies on the host: `containerd`, `kubelet`, `kcr`, `registry`, `etcd`. */
  dataDir(node: string, kind: string): string;
  /** Ends a node gracefully, or as if its power went. */
  stopNode(node: string, options?: { kill?: boolean }): Promise<void>;
  /** Starts it again with the data it had; does not wait for Kubernetes to find it Ready. */
  startNode(node: string): Promise<void>;
  /** Ends a program (SIGKILL) and keeps it down until `startPart`. */
  stopPart(part: Part): Promise<void>;
  startPart(part: Part): Promise<void>;
  /** Ends a program (SIGKILL); its node starts it again at once. */
  killPart(part: Part): Promise<void>;
  /** All that a program has written since its node was made. */
  logs(part: Part): Promise<string>;
  /** Every part there is. */
  readonly parts: readonly Part[];
  /** Which parts are running. */
  status(): Promise<{ part: Part; running: boolean }[]>;
  /** Waits until the API server, the registry and all nodes are ready. */
  waitReady(options?: { timeoutMs?: number; signal?: AbortSignal }): Promise<void>;
}

const controlPlaneParts = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "registry"];
const workerParts = ["containerd", "kubelet", "kube-proxy"];
const READY_MS = 90_000;
/** statfs(2)'s numbers for file systems on which containerd and the kubelet cannot keep their data. */
const unsuitable = new Map([
  [0x794c7630, "overlay"],
  [0x01021994, "tmpfs"],
]);

interface State {
  plan: ClusterPlan;
  keys: Keys;
}

/**
 * Brings a cluster up: makes what is missing, starts what is not running, leaves the rest as it is.
 *
 * Guarantees: afterwards every node is Ready, and pods can be made in namespace default; what was stored in a
 * cluster of the name is still there. One run at a time for a name: a second one waits.
 * Errors: an Error that says why the machine cannot; one that names the part that is not ready, with the end of
 * its log.
 */
export async function up(options: UpOptions = {}): Promise<Cluster> {
  const { name = "kcr", progress = silent, signal } = options;
  checkName(name);
  const whyNot = await whyNotCluster();
  if (whyNot !== undefined) throw new Error(`the local cluster cannot run on this machine: ${whyNot}`);
  await ensurePackages(["iproute2", "util-linux", "mount"], progress, signal);
  return locked(name, options, async () => {
    const state = await ensureState(name, options);
    await checkFileSystem(join(clustersDir(), name));
    const [binaries, rootfs] = await Promise.all([
      ensureBinaries(binariesOf(state.plan), { progress, signal }),
      ensureRootfs({ progress, signal }),
    ]);
    const cluster = handle(state);
    await progress.task(`starting cluster ${name}`, async (detail) => {
      const cgroups = await hostCgroups();
      await ensureNetwork(state.plan, signal);
      for (const [node, spec] of nodeSpecs(state, binaries, rootfs)) {
        detail(node);
        await ensureNode(name, node, spec, cgroups, signal);
      }
      for (const part of cluster.parts) await cluster.startPart(part);
    });
    await ready(state, "registry", signal);
    for (const image of clusterImages) await pushImage(image, cluster.registry.push, { progress, signal });
    await progress.task(`waiting for cluster ${name}`, async (detail) => {
      await Promise.all([waitReady(state, { detail, signal }), pullPauseImage(state, signal)]);
    });
    return cluster;
  });
}

/** A handle on a cluster that was brought up, running or not. Errors: one that was not. */
export async function attach(name = "kcr"): Promise<Cluster> {
  checkName(name);
  const state = await readState(name);
  if (state === undefined) throw new Error(`there is no cluster ${name}; bring it up first`);
  return handle(state);
}

/** Names of the clusters on this machine, running or not. */
export async function clusters(): Promise<string[]> {
  const entries = await readdir(clustersDir(), { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}

/**
 * Takes a cluster down, with all its data. One that is not there, or only half, is fine.
 *
 * Guarantees: no process, mount, link, network namespace, control group or file of it is left.
 */
export async function down({ name = "kcr", progress = silent, signal }: ClusterOptions = {}): Promise<void> {
  checkName(name);
  await locked(name, { progress, signal }, () =>
    progress.task(`taking cluster ${name} down`, async () => {
      const state = await readState(name);
      // Not from the plan alone: a run that was cut short may have left more than it has written down.
      const entries = await readdir(runDir(name)).catch(() => []);
      const namespaces = entries.filter((file) => file.endsWith(".net")).map((file) => runDir(name, file));
      for (const netns of namespaces) await endProcesses(netns);
      if (state !== undefined) await removeHostLink(state.plan);
      for (const netns of namespaces) await removeNetns(netns);
      const cgroups = await hostCgroups();
      await removeCgroup(cgroups, dirname(nodeCgroup(name, "any")));
      await removeCgroupIfEmpty(cgroups, dirname(dirname(nodeCgroup(name, "any"))));
      await rm(runDir(name), { recursive: true, force: true });
      await rm(join(clustersDir(), name), { recursive: true, force: true });
    }),
  );
}

function locked<T>(
  name: string,
  { progress = silent, signal }: ClusterOptions,
  work: () => Promise<T>,
): Promise<T> {
  const waiting = () => progress.note(`waiting for another run that is busy with cluster ${name}`);
  return withLock(cacheDir("locks", `cluster-${name}`), work, { signal, waiting });
}

/** Reads the plan and the keys of a cluster. */
async function readState(name: string): Promise<State | undefined> {
  try {
    return JSON.parse(await readFile(stateFile(name), "utf8")) as State;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new Error(`${stateFile(name)} cannot be read`, { cause: error });
  }
}

const stateFile = (name: string) => join(clustersDir(), name, "cluster.json");
const kubeconfigPath = (name: string) => join(clustersDir(), name, "kubeconfig");

/** The plan as asked for, on the addresses and with the keys the cluster has; new ones for a new cluster. */
async function ensureState(name: string, { containerd, maxRestartPeriod }: UpOptions): Promise<State> {
  const old = await readState(name);
  const save = async (index: number): Promise<State> => {
    const plan = planCluster({
      name,
      index,
      containerd: containerd ?? old?.plan.workers.map((worker) => worker.containerd) ?? ["2.3"],
      maxRestartPeriod: maxRestartPeriod ?? old?.plan.maxRestartPeriod,
    });
    refuseChange(old?.plan, plan);
    const keys: Keys = old?.keys ?? {
      authority: createAuthority(`kcr cluster ${name}`),
      serviceAccounts: createKey(),
      issued: {},
    };
    for (const [owner, subject] of Object.entries(subjects(plan))) {
      keys.issued[owner] ??= issue(keys.authority, subject);
    }
    const state = { plan, keys };
    await mkdir(join(clustersDir(), name), { recursive: true, mode: 0o700 });
    await writeWhole(stateFile(name), JSON.stringify(state));
    await writeWhole(kubeconfigPath(name), kubeconfigOf(plan, keys, "admin"));
    return state;
  };
  if (old !== undefined) return save(old.plan.index);
  // Two new clusters must not take the same addresses.
  return withLock(cacheDir("locks", "cluster-addresses"), async () => {
    const others = await Promise.all((await clusters()).map(readState));
    const taken = others.flatMap((other) => (other ? [other.plan.index] : []));
    return save(freeIndex(taken, await hostRoutes()));
  });
}

/** Workers may be added; those that are there stay what they are, for what is on them was made by it. */
function refuseChange(old: ClusterPlan | undefined, plan: ClusterPlan): void {
  const versions = ({ workers }: ClusterPlan) => workers.map((worker) => worker.containerd);
  const was = old ? versions(old) : [];
  const is = versions(plan);
  if (was.every((version, i) => is[i] === version)) return;
  throw new Error(
    `cluster ${plan.name} has workers with containerd ${was.join(", ")}, not ${is.join(", ")}: take it down first`,
  );
}

async function writeWhole(path: string, content: string): Promise<void> {
  await writeFile(`${path}.part`, content, { mode: 0o600 });
  await rename(`${path}.part`, path);
}

async function checkFileSystem(dir: string): Promise<void> {
  const bad = unsuitable.get((await statfs(dir)).type);
  if (bad === undefined) return;
  throw new Error(
    `${dir} is on ${bad}, where container runtimes cannot keep images: set KCR_CLUSTER_DIR to another`,
  );
}

function binariesOf(plan: ClusterPlan): BinaryPart[] {
  const versions = new Set(plan.workers.map((worker) => worker.containerd));
  return [
    ...[
      "kube-apiserver",
      "kube-controller-manager",
      "kube-scheduler",
      "kubelet",
      "kubectl",
      "kube-proxy",
    ].map((command): BinaryPart => `kubernetes/${command}`),
    ...[...versions].flatMap((version) =>
      ["containerd", "containerd-shim-runc-v2", "ctr"].map(
        (command): BinaryPart => `containerd-${version}/${command}`,
      ),
    ),
    ...["bridge", "loopback", "host-local", "portmap"].map((command): BinaryPart => `cni/${command}`),
    ...(["runc/runc", "etcd/etcd", "registry/registry"] as const),
  ];
}

/** Every node's name and what it is to be. */
function nodeSpecs(
  { plan, keys }: State,
  binaries: Record<BinaryPart, string>,
  rootfs: string,
): [node: string, spec: NodeSpec][] {
  const programs = (module: string, command: string) =>
    dirname(binaries[`${module}/${command}` as BinaryPart]!);
  const data = (node: string, kind: string) => join(nodeDir(plan.name, node), "data", kind);
  const controlPlane: NodeSpec = {
    rootfs,
    files: controlPlaneFiles(plan, keys),
    binds: {
      "/opt/kcr/kubernetes": programs("kubernetes", "kubectl"),
      "/opt/kcr/etcd": programs("etcd", "etcd"),
      "/opt/kcr/registry": programs("registry", "registry"),
      "/var/lib/etcd": data(plan.controlPlane.name, "etcd"),
      "/var/lib/registry": data(plan.controlPlane.name, "registry"),
    },
  };
  const workers = plan.workers.map((worker): [string, NodeSpec] => [
    worker.name,
    {
      rootfs,
      files: workerFiles(plan, worker, keys, {
        cgroup: `/${nodeCgroup(plan.name, worker.name)}`,
        pauseImage: imageReference("pause"),
      }),
      binds: {
        "/opt/kcr/kubernetes": programs("kubernetes", "kubelet"),
        "/opt/kcr/containerd": programs(`containerd-${worker.containerd}`, "containerd"),
        "/opt/kcr/runc": programs("runc", "runc"),
        "/opt/kcr/cni": programs("cni", "bridge"),
        "/var/lib/containerd": data(worker.name, "containerd"),
        "/var/lib/kubelet": data(worker.name, "kubelet"),
        "/var/lib/kcr": data(worker.name, "kcr"),
      },
    },
  ]);
  return [[plan.controlPlane.name, controlPlane], ...workers];
}

/** Has every worker fetch the image no pod can do without, so that pods start while the registry is down. */
async function pullPauseImage({ plan }: State, signal: AbortSignal | undefined): Promise<void> {
  const image = imageReference("pause");
  await Promise.all(
    plan.workers.map(async ({ name }) => {
      const ctr = (...args: string[]) =>
        nodeExec(plan.name, name, ["ctr", "--namespace", "k8s.io", "images", ...args], { signal });
      await until(
        `${name} has the pause image`,
        async () => {
          if ((await ctr("list", "--quiet")).split("\n").includes(image)) return true;
          await ctr("pull", "--hosts-dir", "/etc/kcr/certs.d", image);
          return true;
        },
        { timeoutMs: READY_MS, signal },
      ).catch((error) => explain(plan, `${name}/containerd`, error));
    }),
  );
}

/** Waits until the whole cluster is ready. Errors: the part that is not, with the end of its log. */
async function waitReady(
  state: State,
  {
    timeoutMs = READY_MS,
    detail = () => {},
    signal,
  }: { timeoutMs?: number; detail?: (text: string) => void; signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const { plan } = state;
  const waits: [part: Part, what: string][] = [
    ["kube-apiserver", "the API server"],
    ["registry", "the registry"],
    ["kube-controller-manager", "the controller manager"],
    ...plan.workers.map(({ name }): [Part, string] => [`${name}/kubelet`, name]),
  ];
  for (const [part, what] of waits) {
    detail(what);
    await ready(state, part, signal, timeoutMs);
  }
}

interface NodeCondition {
  type: string;
  status: string;
  lastHeartbeatTime: string;
}

/** Waits until one part does what it is there for. */
async function ready(
  { plan, keys }: State,
  part: Part,
  signal: AbortSignal | undefined,
  timeoutMs = READY_MS,
): Promise<void> {
  const { ip } = plan.controlPlane;
  const get = async (path: string) => {
    const user = keys.issued["admin"]!;
    const { status, body } = await apiGet(apiUrl(plan) + path, { ca: keys.authority.cert, user }, signal);
    return status === 200 ? body : undefined;
  };
  const probes: Record<string, () => Promise<boolean>> = {
    "kube-apiserver": async () => (await get("/readyz")) !== undefined,
    registry: async () => (await fetch(`http://${ip}:${registryPort}/v2/`, { signal })).ok,
    // Pods need it, and the controller manager makes it.
    "kube-controller-manager": async () =>
      (await get("/api/v1/namespaces/default/serviceaccounts/default")) !== undefined,
  };
  // What an earlier kubelet has said of its node does not count.
  const nodeReady = async () => {
    const { node: name, program } = locate(plan, part);
    const since = await programStart(plan.name, name, program);
    const node = await get(`/api/v1/nodes/${name}`);
    if (since === undefined || node === undefined) return false;
    const { status } = JSON.parse(node) as { status: { conditions: NodeCondition[] } };
    return status.conditions.some(
      (one) => one.type === "Ready" && one.status === "True" && Date.parse(one.lastHeartbeatTime) >= since,
    );
  };
  await until(`${part} is ready`, probes[part] ?? nodeReady, { timeoutMs, signal }).catch((error) =>
    signal?.aborted ? Promise.reject(error) : explain(plan, part, error),
  );
}

/** Throws an error that says which part failed, with the end of its log. */
async function explain(plan: ClusterPlan, part: Part, cause: unknown): Promise<never> {
  const log = await readFile(logOf(plan, part), "utf8").catch(() => "(it has written nothing)");
  const why = cause instanceof Error ? cause.message : String(cause);
  throw new Error(`cluster ${plan.name}: ${part} failed: ${why}\n${lastLines(log, 15)}`, { cause });
}

/** Errors: a part that no cluster of this plan has. */
function locate(plan: ClusterPlan, part: Part): { node: string; program: string } {
  const [first = "", second] = part.split("/");
  const [node, program] = second === undefined ? [plan.controlPlane.name, first] : [first, second];
  if (!partsOf(plan).includes(node === plan.controlPlane.name ? program : part)) {
    throw new Error(`cluster ${plan.name} has no part ${part}, but ${partsOf(plan).join(", ")}`);
  }
  return { node, program };
}

function partsOf(plan: ClusterPlan): Part[] {
  return [
    ...controlPlaneParts,
    ...plan.workers.flatMap(({ name }) => workerParts.map((part) => `${name}/${part}`)),
  ];
}

function logOf(plan: ClusterPlan, part: Part): string {
  const { node, program } = locate(plan, part);
  return logPath(plan.name, node, program);
}

async function kubectlPath(): Promise<string> {
  return (await ensureBinaries(["kubernetes/kubectl"]))["kubernetes/kubectl"]!;
}

function handle(state: State): Cluster {
  const { plan } = state;
  const { name } = plan;
  const inPart = (part: Part, script: string) => {
    const { node, program } = locate(plan, part);
    return nodeExec(name, node, ["sh", "-c", script, "sh", `/run/kcr/${program}`]);
  };
  const known = (node: string) => {
    const names = [plan.controlPlane.name, ...plan.workers.map((worker) => worker.name)];
    if (!names.includes(node))
      throw new Error(`cluster ${name} has no node ${node}, but ${names.join(", ")}`);
    return node;
  };
  return {
    name,
    kubeconfigPath: kubeconfigPath(name),
    hostAddress: plan.host.ip,
    registry: { push: `${plan.controlPlane.ip}:${registryPort}`, pull: registryName },
    nodes: plan.workers.map(({ name, ip, containerd }) => ({ name, ip, containerd })),
    images: {
      busybox: imageReference("busybox"),
      redis: imageReference("redis"),
      pause: imageReference("pause"),
    },
    parts: partsOf(plan),
    kubectlPath,
    kubectl: async (args, options) =>
      run([await kubectlPath(), "--kubeconfig", kubeconfigPath(name), ...args], options),
    nodeExec: async (node, argv, options) => nodeExec(name, known(node), argv, options),
    nodeCommand: async (node, argv) => inNode(name, known(node), argv),
    dataDir: (node, kind) => join(nodeDir(name, known(node)), "data", kind),
    stopNode: async (node, options) => stopNode(name, known(node), options),
    startNode: async (node) => startNode(name, known(node), await hostCgroups()),
    stopPart: async (part) => {
      // Down when what watches over it has taken note: its number is gone then, and it is not started again.
      const down = `touch "$1.stopped"
        for _ in $(seq 200); do
          [ -e "$1.pid" ] || exit 0
          kill -KILL "$(cat "$1.pid")" 2>/dev/null || true
          sleep 0.05
        done
        echo "it is still there" >&2; exit 1`;
      await inPart(part, down);
    },
    startPart: async (part) => {
      await inPart(part, `rm -f "$1.stopped"`);
    },
    killPart: async (part) => {
      await inPart(part, `kill -KILL "$(cat "$1.pid")"`);
    },
    logs: async (part) => readFile(logOf(plan, part), "utf8"),
    async status() {
      return Promise.all(
        partsOf(plan).map(async (part) => {
          const { node, program } = locate(plan, part);
          return { part, running: (await programStart(name, node, program)) !== undefined };
        }),
      );
    },
    waitReady: (options = {}) => waitReady(state, options),
  };
}

export type { ContainerdVersion };
