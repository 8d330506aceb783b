import { readdir, readFile, readlink } from "node:fs/promises";
import { basename, join } from "node:path";

/** A process of the host. Read from /proc: this container shares the host's process IDs. */
export interface HostProcess {
  pid: number;
  /** Path of its program in its own mount namespace. */
  program: string;
  args: string[];
  env: Record<string, string>;
}

/** The process of that number; undefined when it is gone, or a thread of the kernel's. */
export async function processOf(pid: number, proc = "/proc"): Promise<HostProcess | undefined> {
  const read = async (name: string) =>
    (await readFile(join(proc, `${pid}`, name), "utf8")).split("\0").slice(0, -1);
  try {
    // A program that was replaced on disk since is run anew from where it was.
    const program = (await readlink(join(proc, `${pid}`, "exe"))).replace(/ \(deleted\)$/, "");
    const pairs = (await read("environ")).map((pair) => pair.split(/=(.*)/s).slice(0, 2));
    return { pid, program, args: await read("cmdline"), env: Object.fromEntries(pairs) };
  } catch {
    return undefined;
  }
}

/** The processes of a program, by the name of its file. */
export async function processesOf(name: string, proc = "/proc"): Promise<HostProcess[]> {
  const numbers = (await readdir(proc)).filter((entry) => /^\d+$/.test(entry)).map(Number);
  const all = await Promise.all(numbers.map((pid) => processOf(pid, proc)));
  return all.filter((one) => one !== undefined).filter(({ program }) => basename(program) === name);
}

/** The value of a flag: `--config x`, `--config=x`, `-c x`; undefined where it is not given. */
export function flagOf(args: readonly string[], ...names: readonly string[]): string | undefined {
  for (const [i, arg] of args.entries()) {
    const [, name, value] = /^--?([\w-]+)(?:=(.*))?$/s.exec(arg) ?? [];
    if (name !== undefined && names.includes(name)) return value ?? args[i + 1];
  }
  return undefined;
}

/** The address of the containerd that runs this container: its shim was told it. */
export async function ownContainerd(proc = "/proc"): Promise<string | undefined> {
  for (let pid = process.pid; pid > 1; ) {
    const one = await processOf(pid, proc);
    if (one && basename(one.program).startsWith("containerd-shim")) return flagOf(one.args, "address");
    const status = await readFile(join(proc, `${pid}`, "status"), "utf8").catch(() => "");
    pid = Number(/^PPid:\s*(\d+)$/m.exec(status)?.[1] ?? 0);
  }
  return undefined;
}

/** The systemd unit that a process belongs to, where systemd runs the host; undefined otherwise. */
export async function systemdUnit(pid: number, proc = "/proc"): Promise<string | undefined> {
  const init = (await readFile(join(proc, "1", "comm"), "utf8")).trim();
  if (init !== "systemd") return undefined;
  return unitOf(await readFile(join(proc, `${pid}`, "cgroup"), "utf8"));
}

/** The service in the text of /proc/<pid>/cgroup: of version 2's one line, else of systemd's own hierarchy. */
export function unitOf(cgroup: string): string | undefined {
  const path = /^(?:0:|\d+:name=systemd):(\/.*)$/m.exec(cgroup)?.[1];
  return path
    ?.split("/")
    .filter((part) => part.endsWith(".service"))
    .at(-1);
}
