/** What a cluster is to look like: pure data, and the rules that give names and addresses. */

export type ContainerdVersion = "2.3" | "2.4";
export const containerdVersions: readonly ContainerdVersion[] = ["2.3", "2.4"];

export interface WorkerPlan {
  name: string;
  /** Its address on the cluster's network. */
  ip: string;
  /** Its pods' addresses, CIDR. */
  podSubnet: string;
  containerd: ContainerdVersion;
}

export interface ClusterPlan {
  name: string;
  /** Which of the /16 networks it has; no two clusters of a machine share one. */
  index: number;
  /** Everything in the cluster, CIDR: nodes, pods and services. */
  network: string;
  /** The link and the address by which the host takes part. */
  host: { link: string; ip: string };
  controlPlane: { name: "control-plane"; ip: string };
  /** The addresses of Services, CIDR, and the first of them: the API server's. */
  services: { subnet: string; api: string };
  workers: WorkerPlan[];
  /** The longest wait between restarts of a crashing container, a Go duration. */
  maxRestartPeriod: string;
}

export interface PlanOptions {
  name: string;
  index: number;
  /** One worker for each, in order. */
  containerd: readonly ContainerdVersion[];
  maxRestartPeriod?: string;
}

/** How many clusters one machine can hold: 10.190.0.0/16 to 10.249.0.0/16. */
export const maxClusters = 60;
const FIRST_NETWORK = 190;
/** The third octet of a worker's pod subnet is its number; 0 is the nodes', 255 the services'. */
export const maxWorkers = 100;

/**
 * Errors: a name that cannot be a directory and part of a link's name, a number of workers or an index that has
 * no addresses.
 */
export function planCluster({ name, index, containerd, maxRestartPeriod = "1s" }: PlanOptions): ClusterPlan {
  checkName(name);
  if (index < 0 || index >= maxClusters) throw new RangeError(`no network is left for cluster ${name}`);
  if (containerd.length < 1 || containerd.length > maxWorkers) {
    throw new RangeError(`a cluster has 1 to ${maxWorkers} workers, not ${containerd.length}`);
  }
  const prefix = `10.${FIRST_NETWORK + index}`;
  return {
    name,
    index,
    network: `${prefix}.0.0/16`,
    host: { link: `kcr${index}`, ip: `${prefix}.0.1` },
    controlPlane: { name: "control-plane", ip: `${prefix}.0.2` },
    services: { subnet: `${prefix}.255.0/24`, api: `${prefix}.255.1` },
    workers: containerd.map((version, i) => ({
      name: `worker-${i + 1}`,
      ip: `${prefix}.0.${11 + i}`,
      podSubnet: `${prefix}.${i + 1}.0/24`,
      containerd: version,
    })),
    maxRestartPeriod,
  };
}

/** Errors: a name that is no DNS label of at most 40 characters. */
export function checkName(name: string): void {
  if (!/^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$/.test(name)) {
    throw new TypeError(
      `not a cluster name: ${JSON.stringify(name)} (lower-case letters, digits and dashes)`,
    );
  }
}

/** The containerd versions of `--containerd` and `--nodes`: one for each worker, the last one repeated. */
export function parseContainerd(list: string, nodes?: number): ContainerdVersion[] {
  const versions = list.split(",").map((version) => {
    const known = containerdVersions.find((one) => one === version.trim());
    if (known === undefined) {
      throw new TypeError(`containerd ${version} is not offered, only ${containerdVersions.join(" and ")}`);
    }
    return known;
  });
  const count = nodes ?? versions.length;
  if (!Number.isInteger(count) || count < versions.length || count > maxWorkers) {
    throw new RangeError(`--nodes is a number from ${versions.length} to ${maxWorkers}, not ${nodes}`);
  }
  return Array.from({ length: count }, (_, i) => versions[Math.min(i, versions.length - 1)]!);
}

/** The lowest index that neither another cluster nor a route of the host's (`10.x...`) has taken. */
export function freeIndex(taken: readonly number[], hostRoutes: readonly string[]): number {
  const secondOctets = new Set(
    hostRoutes.filter((route) => route.startsWith("10.")).map((route) => Number(route.split(".")[1])),
  );
  for (let index = 0; index < maxClusters; index++) {
    if (!taken.includes(index) && !secondOctets.has(FIRST_NETWORK + index)) return index;
  }
  throw new RangeError(`all ${maxClusters} networks for clusters are taken`);
}
