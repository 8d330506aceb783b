import { readdir, readFile } from "node:fs/promises";

/** A process of some container in a local cluster, as the host sees it. */
export interface ContainerProcess {
  pid: number;
  node: string;
  containerID: string;
}

/** One of kcr's own programs. */
export interface KcrProcess extends ContainerProcess {
  program: "operator" | "agent";
  /** When it began, in clock ticks since the machine's boot: with the number unmistakable. */
  started: string;
}

/**
 * What runs in a cluster's containers now. Asks nobody but the host's own /proc, so that it can be known, and signals
 * be sent, while the cluster is in pieces.
 *
 * Each process of a node is in a control group `/kcr/<cluster>/<node>/...`, those of containers in one that ends with
 * their ID.
 */
async function containerProcesses(cluster: string): Promise<ContainerProcess[]> {
  const inCluster = new RegExp(`/kcr/${cluster}/([^/]+)/kubepods/.*/([0-9a-f]{64})$`, "m");
  const look = async (pid: number): Promise<ContainerProcess | undefined> => {
    const place = inCluster.exec(await readFile(`/proc/${pid}/cgroup`, "utf8"));
    return place === null ? undefined : { pid, node: place[1]!, containerID: place[2]! };
  };
  return await ofAll(await allProcesses(), look);
}

const allProcesses = async (): Promise<number[]> =>
  (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);

/** The numbers of a process in each PID namespace that it is in, the host's first. */
async function numbersOf(pid: number): Promise<number[]> {
  const numbers = /^NSpid:\s*(.*)$/m.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1];
  return (numbers ?? "").split("\t").map(Number);
}

/** Operators and agents that run now. */
export async function kcrProcesses(cluster: string): Promise<KcrProcess[]> {
  return await ofAll(await containerProcesses(cluster), async (one) => {
    const command = await readFile(`/proc/${one.pid}/cmdline`, "utf8");
    const program = /\/opt\/kcr\/(operator|agent)\.mjs/.exec(command)?.[1] as
      | KcrProcess["program"]
      | undefined;
    return program && { ...one, program, started: (await statOf(one.pid)).started };
  });
}

/** The host's number for a process of a node outside of containers, which the node itself has that number for. */
export async function nodeProcess(
  cluster: string,
  node: string,
  number: number,
): Promise<number | undefined> {
  const [found] = await ofAll(await allProcesses(), async (pid) => {
    const groups = await readFile(`/proc/${pid}/cgroup`, "utf8");
    const own = groups.includes(`/kcr/${cluster}/${node}/`) ? await numbersOf(pid) : [];
    return own.length === 2 && own[1] === number ? pid : undefined;
  });
  return found;
}

/** The first process of a container, by the host's number for it; undefined: it does not run. */
export async function firstProcess(cluster: string, containerID: string): Promise<number | undefined> {
  const own = (await containerProcesses(cluster)).filter((one) => one.containerID === containerID);
  const [first] = await ofAll(own, async ({ pid }) =>
    (await numbersOf(pid)).at(-1) === 1 ? pid : undefined,
  );
  return first;
}

/** State and begin of a process. See proc_pid_stat(5); the name may hold spaces and brackets. */
export async function statOf(pid: number): Promise<{ state: string; started: string }> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8");
  const [state = "", ...fields] = text.slice(text.lastIndexOf(")") + 2).split(" ");
  // State is the third field, the begin the twenty-second.
  return { state, started: fields[18] ?? "" };
}

/** Resident memory and open files of a process. */
export async function sizeOf(pid: number): Promise<{ rssBytes: number; files: number }> {
  const [status, files] = await Promise.all([
    readFile(`/proc/${pid}/status`, "utf8"),
    readdir(`/proc/${pid}/fd`),
  ]);
  return { rssBytes: Number(/^VmRSS:\s*(\d+) kB/m.exec(status)?.[1]) * 1024, files: files.length };
}

/** For `catch`: a process that ended meanwhile is none. */
export function gone(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT" || error.code === "ESRCH") return undefined;
  throw error;
}

async function ofAll<A, B>(all: readonly A[], look: (one: A) => Promise<B | undefined>): Promise<B[]> {
  const found = await Promise.all(all.map((one) => look(one).catch(gone)));
  return found.filter((one) => one !== undefined);
}
