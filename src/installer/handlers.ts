import { KcrError } from "../api/errors.ts";
import { type Dump, stringOf, stringsOf, tableName } from "./dump.ts";

/** The runtime handlers that kcr adds to a node: the one of the pods, and the one of the agent's self-test. */
export const HANDLERS = ["kcr", "kcr-selftest"] as const;
export const RUNTIME = "/opt/kcr-runtime/kcr-runtime";
/** Annotations of pods that the handler gets to see. */
export const ANNOTATIONS = "kcr.io/*";

const CRI = "io.containerd.cri.v1.runtime";
const SHIM = "io.containerd.runc.v2";
const containerd = ["plugins", CRI, "containerd"];
const runtimeTable = (name: string) => tableName(...containerd, "runtimes", name);
const optionsTable = (name: string) => tableName(...containerd, "runtimes", name, "options");

/** The handler that kcr's are copies of: the node's default one where that is runc behind its shim, else `runc`. */
export interface Original {
  name: string;
  /** The program behind the shim; empty: `runc` of containerd's PATH. */
  binary: string;
}

/** Errors: KcrError for containerd 1.x, and for a node without a handler that runs runc. */
export function originalHandler(dump: Dump): Original {
  if (dump.version < 3) {
    throw new KcrError(
      "RuntimeUnsupported",
      `containerd's configuration is of version ${dump.version}: containerd 2.0 or newer is needed`,
    );
  }
  const preferred = stringOf(dump.tables.get(tableName(...containerd))?.get("default_runtime_name"));
  for (const name of [preferred ?? "runc", "runc"]) {
    if (stringOf(dump.tables.get(runtimeTable(name))?.get("runtime_type")) !== SHIM) continue;
    return { name, binary: stringOf(dump.tables.get(optionsTable(name))?.get("BinaryName")) ?? "" };
  }
  throw new KcrError(
    "RuntimeUnsupported",
    `neither containerd's default runtime ${preferred ?? ""} nor one named runc is of type ${SHIM}`,
  );
}

/**
 * The drop-in for containerd: kcr's handlers, each with all that the original one has but the program. Of version 3,
 * which every containerd from 2.0 on reads.
 */
export function containerdDropIn(dump: Dump, original: Original): string {
  const annotations = [
    ...new Set([...(stringsOf(settings(dump, original.name)["pod_annotations"] ?? "[]") ?? []), ANNOTATIONS]),
  ];
  const handler = (name: string) => [
    `[plugins.'${CRI}'.containerd.runtimes.${name}]`,
    ...lines({ ...settings(dump, original.name), pod_annotations: list(annotations) }),
    `[plugins.'${CRI}'.containerd.runtimes.${name}.options]`,
    ...lines({ ...options(dump, original.name), BinaryName: quoted(RUNTIME) }),
  ];
  return [
    "# Written by kcr-installer, which overwrites it.",
    "version = 3",
    ...HANDLERS.flatMap(handler),
    "",
  ].join("\n");
}

/** Whether a line of a dump is about kcr's handlers, or about which files it was read from. */
export const isOurs = (table: string, key: string): boolean =>
  (table === "" && key === "imports") ||
  HANDLERS.some((name) => table === runtimeTable(name) || table === optionsTable(name));

/** Whether the configuration has kcr's handlers. */
export const hasHandlers = (dump: Dump): boolean =>
  HANDLERS.every((name) => stringOf(dump.tables.get(optionsTable(name))?.get("BinaryName")) === RUNTIME);

const settings = (dump: Dump, name: string) => Object.fromEntries(dump.tables.get(runtimeTable(name)) ?? []);
const options = (dump: Dump, name: string) => Object.fromEntries(dump.tables.get(optionsTable(name)) ?? []);
/** What says nothing is left out: a later containerd may not know it any more. */
const empty = new Set(["''", '""', "[]", "false", "0"]);
const lines = (entries: Record<string, string>) =>
  Object.entries(entries)
    .filter(([key, value]) => key === "SystemdCgroup" || !empty.has(value))
    .map(([key, value]) => `  ${key} = ${value}`);
const quoted = (text: string) => `'${text}'`;
const list = (texts: readonly string[]) => `[${texts.map((text) => JSON.stringify(text)).join(", ")}]`;
