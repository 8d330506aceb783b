import { join } from "node:path";
import { KcrError } from "../api/errors.ts";
import { readIfThere } from "../store/files.ts";
import { type Dump, parseDump, stringOf, tableName } from "./dump.ts";
import { ANNOTATIONS, HANDLERS, RUNTIME } from "./handlers.ts";
import { type Host, isThere, onHost, putBack, runOnHost, writeForAll } from "./host.ts";
import { processesOf } from "./process.ts";
import type { NodeRuntime } from "./runtime.ts";

/**
 * CRI-O, by its documented formats (crio.conf(5), `crio status config`): it has not been run.
 */
const DROP_IN = "/etc/crio/crio.conf.d/99-kcr.conf";
const SOCKET = "/var/run/crio/crio.sock";

/** Errors: KcrError where no crio runs, or its runtime's program cannot be found. */
export async function crio(host: Host, signal?: AbortSignal): Promise<NodeRuntime> {
  const [process] = await processesOf("crio");
  if (process === undefined) {
    throw new KcrError("RuntimeConfigUnclear", "no process of the node is CRI-O");
  }
  const { pid, program, env } = process;
  const dump = parseDump(await runOnHost(host, pid, [program, "status", "config"], { env, signal }));
  const { path, wanted } = crioRuntime(dump, env["PATH"] ?? "");
  const there = await Promise.all(path.map((one) => isThere(onHost(host, one))));
  const runtime = path.find((_, i) => there[i]);
  if (runtime === undefined) {
    throw new KcrError("RuntimeConfigUnclear", `the program of CRI-O's runtime ${wanted} was not found`);
  }
  const dropIn = onHost(host, DROP_IN);
  return {
    pid,
    program,
    original: runtime,
    containerdRoot: undefined,
    async addHandlers(beforeChange) {
      const text = crioDropIn(dump);
      if ((await readIfThere(dropIn)) === text) return;
      await beforeChange();
      await writeForAll(dropIn, text);
    },
    async removeHandlers(beforeChange) {
      if ((await readIfThere(dropIn)) === undefined) return;
      await beforeChange();
      await putBack(dropIn, undefined);
    },
    address: onHost(host, SOCKET),
  };
}

const runtimeTable = (name: string) => tableName("crio", "runtime", "runtimes", name);
const defaultRuntime = (dump: Dump): string =>
  stringOf(dump.tables.get(tableName("crio", "runtime"))?.get("default_runtime")) || "crun";

/** Where the program of CRI-O's default runtime may be. */
export function crioRuntime(dump: Dump, PATH: string): { wanted: string; path: string[] } {
  const wanted = defaultRuntime(dump);
  const path = stringOf(dump.tables.get(runtimeTable(wanted))?.get("runtime_path"));
  return {
    wanted,
    path: path
      ? [path]
      : ["/usr/libexec/crio", ...PATH.split(":")].map((directory) => join(directory, wanted)),
  };
}

/** The drop-in for CRI-O: kcr's handlers, with what the default one has but the program. */
export function crioDropIn(dump: Dump): string {
  const original = dump.tables.get(runtimeTable(defaultRuntime(dump))) ?? new Map<string, string>();
  const kept = ["runtime_type", "runtime_root", "monitor_path", "monitor_cgroup", "monitor_exec_cgroup"];
  const handler = (name: string) => [
    `[crio.runtime.runtimes.${name}]`,
    `  runtime_path = "${RUNTIME}"`,
    ...kept.flatMap((key) => {
      const value = original.get(key);
      return value === undefined || value === '""' ? [] : [`  ${key} = ${value}`];
    }),
    // CRI-O takes prefixes here, without a star.
    `  allowed_annotations = ["${ANNOTATIONS.replace("*", "")}"]`,
  ];
  return ["# Written by kcr-installer, which overwrites it.", ...HANDLERS.flatMap(handler), ""].join("\n");
}
