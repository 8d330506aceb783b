import { readdir, readFile } from "node:fs/promises";
import { afterAll, describe, expect, inject, test } from "vitest";
import { attach, type Cluster, clusters, down, up } from "../../../cluster/cluster.ts";
import { run } from "../../../cluster/run.ts";
import { waitFor } from "../../support/wait-for.ts";

/** What a cluster may leave on a machine, counted so that two moments can be compared. */
interface Traces {
  processes: string[];
  mounts: string[];
  links: string[];
  routes: string[];
  rules: string;
  cgroups: string[];
  directories: string[];
}

const name = "kcr-life";
const reason = inject("whyNotCluster");

async function lines(argv: readonly string[]): Promise<string[]> {
  return (await run(argv)).split("\n").filter(Boolean).sort();
}

/** Traces of clusters of this test's name, and everything on which names are not written. */
async function traces(): Promise<Traces> {
  const list = (dir: string) => readdir(dir).catch(() => []);
  const mounts = (await readFile("/proc/self/mounts", "utf8")).split("\n").sort();
  return {
    processes: await clusterProcesses(),
    mounts,
    links: (await lines(["ip", "-brief", "link"])).map((line) => line.split(/\s/)[0]!),
    routes: await lines(["ip", "route"]),
    rules: await run(["sh", "-c", "command -v nft >/dev/null && nft list ruleset || true"]),
    cgroups: await lines(["find", "/sys/fs/cgroup", "-type", "d", "-path", `*kcr/${name}*`]),
    directories: (await Promise.all(["/run/kcr-cluster", "/var/lib/kcr-cluster"].map(list))).flat().sort(),
  };
}

/**
 * Every process in a control group of the cluster: nothing of a node is ever outside. The dead who wait for this
 * machine's init to take note of them do not count.
 */
async function clusterProcesses(): Promise<string[]> {
  const script = `cd /proc
    for pid in $(grep -l "/kcr/${name}/" [0-9]*/cgroup 2>/dev/null | cut -d/ -f1); do
      grep -q "^State:.*Z" "$pid/status" || echo "$pid $(tr '\\0' ' ' <"$pid/cmdline")"
    done`;
  return lines(["sh", "-c", script]);
}

describe.skipIf(reason)(`the local cluster's life${reason ? ` (${reason})` : ""}`, () => {
  let before: Traces;
  let cluster: Cluster;

  afterAll(() => down({ name }));

  const podPhase = (pod: string) =>
    cluster.kubectl(["get", "pod", pod, "--output", "jsonpath={.status.phase}"]).catch(() => "");
  const runPod = async (pod: string) => {
    const command = ["--command", "--", "sleep", "3600"];
    await cluster.kubectl(["run", pod, "--image", cluster.images.busybox, "--grace-period=1", ...command]);
    await waitFor(`pod ${pod} to run`, async () => (await podPhase(pod)) === "Running");
  };

  test("comes up beside another cluster, and runs a pod that reaches the API server through its Service", async () => {
    await down({ name });
    before = await traces();
    cluster = await up({ name });
    expect(await clusters()).toContain(name);
    expect(cluster.registry.push).not.toBe((await attach(inject("cluster")!)).registry.push);
    await runPod("one");
    const script = "wget --no-check-certificate -qO- https://$KUBERNETES_SERVICE_HOST/version";
    await waitFor("the API server's answer in a pod", async () =>
      (await cluster.kubectl(["exec", "one", "--", "sh", "-c", script])).includes("gitVersion"),
    );
  });

  test("a second up of the same cluster changes nothing", async () => {
    const pids = () =>
      cluster.nodeExec("worker-1", ["cat", "/run/kcr/containerd.pid", "/run/kcr/kubelet.pid"]);
    const seen = await pids();
    cluster = await up({ name });
    expect(await pids()).toBe(seen);
  });

  test("a program that is killed is started again", async () => {
    const pid = () => cluster.nodeExec("control-plane", ["cat", "/run/kcr/registry.pid"]);
    const killed = await pid();
    await cluster.killPart("registry");
    await waitFor("another registry process", async () => (await pid()) !== killed);
    await cluster.waitReady();
  });

  test("a part that is kept down is down, and up repairs it", async () => {
    await cluster.stopPart("registry");
    await expect(fetch(`http://${cluster.registry.push}/v2/`)).rejects.toThrow();
    expect((await cluster.status()).find(({ part }) => part === "registry")?.running).toBe(false);
    cluster = await up({ name });
    expect((await fetch(`http://${cluster.registry.push}/v2/`)).status).toBe(200);
    expect((await cluster.status()).every(({ running }) => running)).toBe(true);
  });

  test("a node whose power went comes back with what it had", async () => {
    await cluster.stopNode("worker-1", { kill: true });
    await expect(cluster.nodeExec("worker-1", ["true"])).rejects.toThrow("is not running");
    await cluster.startNode("worker-1");
    await cluster.waitReady();
    await waitFor("the pod's second container", async () => {
      const path = "jsonpath={.status.containerStatuses[0].restartCount}";
      return Number(await cluster.kubectl(["get", "pod", "one", "--output", path])) === 1;
    });
    await waitFor("a command in it", () => cluster.kubectl(["exec", "one", "--", "true"]).then(() => true));
  });

  test("a part that cannot start is named, with the end of its log", async () => {
    const broken = `echo "the disk is on fire"; exit 1`;
    await cluster.nodeExec("control-plane", ["sh", "-c", `echo '${broken}' >/etc/kcr/services/registry`]);
    await cluster.killPart("registry");
    const failure = cluster.waitReady({ timeoutMs: 3_000 });
    await expect(failure).rejects.toThrow(/registry failed(.|\n)*the disk is on fire/);
  });

  test("down leaves nothing behind", async () => {
    const during = await traces();
    for (const kind of ["processes", "links", "routes", "cgroups", "directories", "mounts"] as const) {
      expect(during[kind], kind).not.toEqual(before[kind]);
    }
    await down({ name });
    expect(await traces()).toEqual(before);
    await expect(attach(name)).rejects.toThrow("there is no cluster");
    await down({ name });
  });
});
