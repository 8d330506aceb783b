import { readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { KcrError } from "../api/errors.ts";
import { readIfThere } from "../store/files.ts";
import { type Dump, differences, parseDump, stringOf, tableName } from "./dump.ts";
import { containerdDropIn, hasHandlers, isOurs, originalHandler } from "./handlers.ts";
import { type Host, isThere, onHost, putBack, runOnHost, writeForAll } from "./host.ts";
import { addImport, removeImport } from "./imports.ts";
import { flagOf, type HostProcess, ownContainerd, processesOf } from "./process.ts";

const DROP_IN_DIRECTORY = "/etc/containerd/conf.d";
const DROP_IN = `${DROP_IN_DIRECTORY}/kcr.toml`;
const PATTERN = `${DROP_IN_DIRECTORY}/*.toml`;
const DEFAULT_CONFIG = "/etc/containerd/config.toml";
const DEFAULT_ADDRESS = "/run/containerd/containerd.sock";
const BACKUP = ".before-kcr";

/** The containerd that runs the node's pods. */
export interface Containerd {
  process: HostProcess;
  /** Path of its main configuration, which need not be there. */
  config: string;
  /** Its effective configuration as the files have it now, which it may not have read yet. */
  dump: Dump;
}

/** Errors: KcrError where there is none, or it cannot be told which of several it is. */
export async function findContainerd(host: Host, signal?: AbortSignal): Promise<Containerd> {
  const processes = await processesOf("containerd");
  const all = await Promise.all(processes.map((process) => look(host, process, signal)));
  const [only, ...others] = all;
  if (only !== undefined && others.length === 0) return only;
  const own = await ownContainerd();
  const found = all.filter((one) => addressOf(one) === own);
  if (found.length === 1) return found[0]!;
  throw new KcrError(
    "RuntimeConfigUnclear",
    only === undefined
      ? "no process of the node is a containerd of its own (k3s and the like, which have it built in, are not supported)"
      : `the node runs ${all.length} containerds (${processes.map(({ pid }) => pid)}), and none is known to be the kubelet's`,
  );
}

async function look(host: Host, process: HostProcess, signal?: AbortSignal): Promise<Containerd> {
  const config = flagOf(process.args, "config", "c") ?? DEFAULT_CONFIG;
  return { process, config, dump: await dumpConfig(host, { process, config }, signal) };
}

async function dumpConfig(
  host: Host,
  { process: { pid, program, env }, config }: Omit<Containerd, "dump">,
  signal?: AbortSignal,
): Promise<Dump> {
  return parseDump(
    await runOnHost(host, pid, [program, "--config", config, "config", "dump"], { env, signal }),
  );
}

/** Path of its socket. */
export function addressOf({ process: { args }, dump: { tables } }: Containerd): string {
  const inFile =
    tables.get(tableName("plugins", "io.containerd.server.v1.grpc"))?.get("address") ??
    tables.get(tableName("grpc"))?.get("address");
  return flagOf(args, "address", "a") ?? stringOf(inFile) ?? DEFAULT_ADDRESS;
}

/** Where it keeps its data. */
export const rootOf = ({ process, dump }: Containerd): string =>
  flagOf(process.args, "root") ?? stringOf(dump.tables.get("")?.get("root")) ?? "/var/lib/containerd";

/** Absolute path of the runtime behind kcr's. Errors: KcrError where it cannot be found. */
export async function originalRuntime(host: Host, { process, dump }: Containerd): Promise<string> {
  const { name, binary } = originalHandler(dump);
  const wanted = binary || "runc";
  const directories = wanted.includes("/") ? [""] : (process.env["PATH"] ?? "").split(":");
  for (const directory of directories) {
    const path = directory === "" ? wanted : join(directory, wanted);
    if (path.startsWith("/") && (await isThere(onHost(host, path)))) return path;
  }
  throw new KcrError(
    "RuntimeConfigUnclear",
    `the program ${wanted} of containerd's runtime ${name} was not found`,
  );
}

/** Called before a file is changed that takes effect with a restart only. */
export type BeforeChange = () => Promise<void>;

/**
 * Adds kcr's handlers to containerd's configuration: a drop-in, and in the main configuration its directory among
 * `imports` if it is not yet. Level-based: what is there already is left alone.
 *
 * Guarantees: afterwards containerd's effective configuration is what it was but for the handlers; else the files
 * are as they were and this rejects. A main configuration that is changed is kept beside it the first time.
 * Errors: KcrError RuntimeUnsupported, RuntimeConfigUnclear.
 */
export async function addHandlers(
  host: Host,
  containerd: Containerd,
  beforeChange: BeforeChange,
  signal?: AbortSignal,
): Promise<void> {
  const { dump, config } = containerd;
  const dropIn = onHost(host, DROP_IN);
  const main = onHost(host, config);
  const [hadDropIn, hadMain] = [await readIfThere(dropIn), await readIfThere(main)];
  const wanted = containerdDropIn(dump, originalHandler(dump));
  if (hadDropIn === wanted && hasHandlers(dump)) return;

  await beforeChange();
  try {
    await writeForAll(dropIn, wanted);
    let now = await dumpConfig(host, containerd, signal);
    if (!hasHandlers(now)) {
      const edit = addImport(hadMain ?? "", PATTERN);
      if (edit.type === "refused") throw new KcrError("RuntimeConfigUnclear", `${config}: ${edit.why}`);
      if (hadMain !== undefined && !(await isThere(main + BACKUP))) await writeForAll(main + BACKUP, hadMain);
      await writeForAll(main, edit.text);
      now = await dumpConfig(host, containerd, signal);
    }
    verifyOnlyOurs(dump, now, config);
    if (!hasHandlers(now)) {
      throw new KcrError("RuntimeConfigUnclear", `${config}: containerd does not read ${DROP_IN} with it`);
    }
  } catch (error) {
    await putBack(main, hadMain);
    await putBack(dropIn, hadDropIn);
    if (error instanceof KcrError) throw error;
    throw new KcrError("RuntimeConfigUnclear", `${config}: ${String(error)}`, { cause: error });
  }
}

/**
 * Takes them away again, and our `imports` if nothing else is read by it.
 *
 * Guarantees and errors: as {@link addHandlers}.
 */
export async function removeHandlers(
  host: Host,
  containerd: Containerd,
  beforeChange: BeforeChange,
  signal?: AbortSignal,
): Promise<void> {
  const { dump, config } = containerd;
  const dropIn = onHost(host, DROP_IN);
  const main = onHost(host, config);
  const [hadDropIn, hadMain] = [await readIfThere(dropIn), await readIfThere(main)];
  const edit = removeImport(hadMain ?? "", PATTERN);
  const isShared = (await entries(dirname(dropIn))).some(
    (name) => name.endsWith(".toml") && name !== basename(dropIn),
  );
  const text = edit.type === "edited" && !isShared ? edit.text : (hadMain ?? "");
  if (hadDropIn === undefined && text === (hadMain ?? "")) return;

  await beforeChange();
  try {
    await putBack(dropIn, undefined);
    if (hadMain !== undefined) await putBack(main, text === "" ? undefined : text);
    verifyOnlyOurs(dump, await dumpConfig(host, containerd, signal), config);
  } catch (error) {
    await putBack(main, hadMain);
    await putBack(dropIn, hadDropIn);
    throw error;
  }
  await putBack(main + BACKUP, undefined);
}

function verifyOnlyOurs(before: Dump, after: Dump, config: string): void {
  const changed = differences(before, after, isOurs);
  if (changed.length === 0) return;
  throw new KcrError(
    "RuntimeConfigUnclear",
    `${config}: kcr's drop-in would change more than kcr's handlers: ${changed.slice(0, 5).join("; ")}`,
  );
}

const entries = (directory: string): Promise<string[]> => readdir(directory).catch(() => []);
