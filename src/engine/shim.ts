import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";

/** The containerd of this node, as it told the shim that runs this very process. */
export interface Containerd {
  /** Path of its socket, which also serves the CRI. */
  address: string;
  /** Directory of what it keeps while it runs. */
  state: string;
  /** PATH of the runtimes that it calls. */
  path: string;
}

/**
 * Looks among this process's ancestors: they are seen where the container shares the host's process IDs.
 * Undefined where none of them is a shim of containerd's.
 *
 * Source of the variables: `command` in pkg/shim/util.go of containerd 2.
 */
export async function ownContainerd(proc = "/proc", pid = process.pid): Promise<Containerd | undefined> {
  for (let at = pid; at > 1; ) {
    const environment = await environmentOf(proc, at);
    const address = environment.get("GRPC_ADDRESS");
    if (address !== undefined && environment.get("NAMESPACE") === NAMESPACE) {
      return { address, state: dirname(address), path: environment.get("PATH") ?? "" };
    }
    const stat = await readFile(join(proc, `${at}`, "stat"), "utf8").catch(() => "");
    at = parseStat(stat)?.parent ?? 0;
  }
  return undefined;
}

/** containerd's namespace of what the kubelet asks it for. */
export const NAMESPACE = "k8s.io";

async function environmentOf(proc: string, pid: number): Promise<Map<string, string>> {
  const text = await readFile(join(proc, `${pid}`, "environ"), "utf8").catch(() => "");
  return new Map(
    text.split("\0").flatMap((pair): [string, string][] => {
      const at = pair.indexOf("=");
      return at < 1 ? [] : [[pair.slice(0, at), pair.slice(at + 1)]];
    }),
  );
}

/** Parent, and begin in clock ticks since boot, of /proc/<pid>/stat; undefined for what is no such text. */
export function parseStat(text: string): { parent: number; began: number } | undefined {
  // Anything may stand in a process's name, but not behind the last parenthesis.
  const fields = text
    .slice(text.lastIndexOf(")") + 1)
    .trim()
    .split(/\s+/);
  const [parent, began] = [Number(fields[1]), Number(fields[19])];
  return Number.isInteger(parent) && Number.isInteger(began) ? { parent, began } : undefined;
}
