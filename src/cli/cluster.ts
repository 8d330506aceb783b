import { type Command, Option } from "commander";
import { KcrError } from "../api/errors.ts";
import type { Client } from "../kube/client.ts";
import { VERSION } from "./version.ts";

/** Flags that every command has, before its name or behind it. */
export interface ClusterFlags {
  namespace?: string;
  context?: string;
  kubeconfig?: string;
}

/** A client after the person's kubeconfig, and the namespace that commands mean. */
export interface Connection {
  client: Client;
  /** As kubectl has it: -n, else the context's, else `default`. */
  namespace: string;
  /** What a further command has to repeat to mean the same: ` -n shop`, or nothing. */
  again: string;
}

/** Heading of these flags in the help of commands. */
const HEADING = "Cluster:";
const FLAGS = [
  ["-n, --namespace <name>", "namespace (default: the context's)"],
  ["--context <name>", "context of the kubeconfig (default: its current one)"],
  ["--kubeconfig <file>", "kubeconfig (default: $KUBECONFIG, else ~/.kube/config)"],
] as const;
const KEYS = ["namespace", "context", "kubeconfig"] as const satisfies (keyof ClusterFlags)[];
const ours = new WeakSet<Option>();

/** Whether it is one of the flags of {@link ClusterFlags}, and not a command's own of the same name. */
export const isClusterFlag = (option: Option): boolean => ours.has(option);

/**
 * Gives a program and all its commands the flags of {@link ClusterFlags}, so that they may stand before a command's
 * name and behind it. A command that has a flag of that name for something else keeps its own.
 */
export function addClusterFlags(command: Command): void {
  for (const [names, description] of FLAGS) {
    const option = new Option(names, description).helpGroup(HEADING);
    if (command.options.some(({ long, short }) => long === option.long || (short && short === option.short)))
      continue;
    ours.add(option);
    command.addOption(option);
  }
  for (const one of command.commands) addClusterFlags(one);
}

/** What the flags of {@link ClusterFlags} were given as, for an action of a command: the nearest to it counts. */
export function clusterFlagsOf(command: Command): ClusterFlags {
  const flags: ClusterFlags = { namespace: undefined, context: undefined, kubeconfig: undefined };
  for (let at: Command | null = command; at !== null; at = at.parent) {
    for (const key of KEYS) {
      const isOurs = at.options.some((option) => option.attributeName() === key && ours.has(option));
      if (isOurs) flags[key] ??= at.getOptionValue(key) as string | undefined;
    }
  }
  return flags;
}

const againWith = ({ namespace, context, kubeconfig }: ClusterFlags): string =>
  [
    namespace === undefined ? "" : ` -n ${namespace}`,
    context === undefined ? "" : ` --context ${context}`,
    kubeconfig === undefined ? "" : ` --kubeconfig ${kubeconfig}`,
  ].join("");

/** What the library makes up where it finds no configuration at all. */
const UNCONFIGURED = "http://localhost:8080";

/**
 * Connects as kubectl would; nothing is sent yet. What it needs of Kubernetes' library is loaded here, so that
 * commands that speak to no cluster start without it.
 *
 * Errors: KcrError KubeconfigUnusable.
 */
export async function connect(flags: ClusterFlags): Promise<Connection> {
  const { Client } = await import("../kube/client.ts");
  try {
    const client = Client.fromConfig({
      kubeconfig: flags.kubeconfig,
      context: flags.context,
      userAgent: `kubectl-kcr/${VERSION}`,
    });
    // Asks the current context for its cluster, which it may not have.
    if (client.server === UNCONFIGURED) {
      throw new Error("there is none, neither in $KUBECONFIG nor as ~/.kube/config");
    }
    const namespace = flags.namespace ?? client.namespace ?? "default";
    return { client, namespace, again: againWith(flags) };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new KcrError("KubeconfigUnusable", `no cluster by the kubeconfig: ${why}`, { cause });
  }
}
