import { createNetns, inNetns } from "./netns.ts";
import { runDir } from "./paths.ts";
import type { ClusterPlan } from "./plan.ts";
import { run } from "./run.ts";

/**
 * The cluster's network. Each node has a network namespace; the control plane's holds a bridge with a link to
 * every worker and one to the host, which is all the host sees of it:
 *
 *   host          kcr<index> 10.x.0.1, and a route to 10.x.0.0/16 through the control plane
 *   control-plane bridge `nodes` 10.x.0.2, a route to each worker's pods
 *   worker-n      eth0 10.x.0.(10+n), bridge cni0 for its pods 10.x.n.0/24
 *
 * There is no way out: no default route on the control plane, no masquerading, no listener on the host.
 */

const BRIDGE = "nodes";
const HOST_PORT = "host";

export function netnsPath(cluster: string, node: string): string {
  return runDir(cluster, `${node}.net`);
}

/** Makes what is missing of the network; what is there is left alone. */
export async function ensureNetwork(plan: ClusterPlan, signal?: AbortSignal): Promise<void> {
  const { host, controlPlane, workers } = plan;
  const center = netnsPath(plan.name, controlPlane.name);
  for (const { name } of [controlPlane, ...workers]) await createNetns(netnsPath(plan.name, name));

  if (!(await links(undefined, signal)).has(host.link)) {
    await ip(undefined, [`link add ${host.link} type veth peer name ${HOST_PORT} netns ${center}`], signal);
  }
  const ports = await links(center, signal);
  await ip(
    center,
    [
      ...(ports.has(BRIDGE) ? [] : [`link add ${BRIDGE} type bridge`]),
      ...workers
        .filter(({ name }) => !ports.has(name))
        .map(({ name }) => `link add ${name} type veth peer name eth0 netns ${netnsPath(plan.name, name)}`),
      "link set lo up",
      `address replace ${controlPlane.ip}/24 dev ${BRIDGE}`,
      `link set ${BRIDGE} up`,
      ...[HOST_PORT, ...workers.map(({ name }) => name)].flatMap((port) => [
        `link set ${port} master ${BRIDGE}`,
        `link set ${port} up`,
      ]),
      ...workers.map((worker) => `route replace ${worker.podSubnet} via ${worker.ip}`),
    ],
    signal,
  );
  await forward(center, signal);
  for (const worker of workers) {
    const netns = netnsPath(plan.name, worker.name);
    await ip(
      netns,
      [
        "link set lo up",
        `address replace ${worker.ip}/24 dev eth0`,
        "link set eth0 up",
        `route replace default via ${controlPlane.ip}`,
      ],
      signal,
    );
    await forward(netns, signal);
  }
  await ip(
    undefined,
    [
      `address replace ${host.ip}/24 dev ${host.link}`,
      `link set ${host.link} up`,
      `route replace ${plan.network} via ${controlPlane.ip}`,
    ],
    signal,
  );
}

/** Takes the host's end away, and with it the other; namespaces take the rest with them. */
export async function removeHostLink(plan: ClusterPlan): Promise<void> {
  if ((await links()).has(plan.host.link)) await ip(undefined, [`link delete ${plan.host.link}`]);
}

/** Destinations of the host's routes: `default`, `10.1.2.0/24`, `10.1.2.3`. */
export async function hostRoutes(): Promise<string[]> {
  const routes = JSON.parse(await run(["ip", "-json", "-4", "route", "show", "table", "all"])) as {
    dst: string;
  }[];
  return routes.map(({ dst }) => dst);
}

async function links(netns?: string, signal?: AbortSignal): Promise<Set<string>> {
  const command = ["ip", "-json", "link", "show"];
  const listed = await run(netns ? inNetns(netns, command) : command, { signal });
  return new Set((JSON.parse(listed) as { ifname: string }[]).map(({ ifname }) => ifname));
}

async function ip(
  netns: string | undefined,
  commands: readonly string[],
  signal?: AbortSignal,
): Promise<void> {
  const command = ["ip", "-batch", "-"];
  await run(netns ? inNetns(netns, command) : command, { input: `${commands.join("\n")}\n`, signal });
}

/**
 * Lets packets pass. Traffic between two pods of one node must pass the Services' rules too (answers on a bridge
 * would go straight to the asker otherwise); kernels without the bridge filter do without.
 */
async function forward(netns: string, signal?: AbortSignal): Promise<void> {
  const script = `
    cd /proc/sys/net
    echo 1 >ipv4/ip_forward
    echo 0 >ipv4/conf/all/send_redirects
    echo 0 >ipv4/conf/default/send_redirects
    [ -e bridge ] || modprobe br_netfilter 2>/dev/null || true
    [ ! -e bridge/bridge-nf-call-iptables ] || echo 1 >bridge/bridge-nf-call-iptables`;
  await run(inNetns(netns, ["sh", "-c", script]), { signal });
}
