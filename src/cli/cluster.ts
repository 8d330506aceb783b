import type { Command } from "commander";
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
}

/** Gives the program the flags of {@link ClusterFlags}. */
export const withClusterFlags = (program: Command): Command =>
  program
    .option("-n, --namespace <name>", "namespace (default: the context's)")
    .option("--context <name>", "context of the kubeconfig (default: its current one)")
    .option("--kubeconfig <file>", "kubeconfig (default: $KUBECONFIG, else ~/.kube/config)");

/** What the flags of {@link ClusterFlags} were given as, for an action of a command. */
export const clusterFlagsOf = (command: Command): ClusterFlags => command.optsWithGlobals<ClusterFlags>();

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
    if (client.server === "") throw new Error("its cluster has no server");
    return { client, namespace: flags.namespace ?? client.namespace ?? "default" };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new KcrError("KubeconfigUnusable", `the kubeconfig is of no use: ${why}`, { cause });
  }
}
