import type { Cluster } from "../../cluster/cluster.ts";
import { type InstallOptions, installKcr as install } from "../../cluster/install.ts";
import { progressTo } from "../../cluster/progress.ts";

/** A RuntimeClass with the node's ordinary runtime: its pods are restored through images, and not by the handler. */
export const PLAIN_CLASS = "plain";

/**
 * Installs kcr in the cluster that the end-to-end tests share: as a user's, with waits that suit tests. A test that
 * installs it with other settings puts this installation back.
 */
export async function installKcr(
  cluster: Cluster,
  settings: InstallOptions["settings"] = {},
  { engine, handler }: Pick<InstallOptions, "engine" | "handler"> = {},
): Promise<void> {
  await install(cluster, {
    progress: progressTo(),
    engine,
    handler,
    settings: { restore: { stableSeconds: 10 }, ...settings },
  });
  const metadata = { name: PLAIN_CLASS };
  const plain = { apiVersion: "node.k8s.io/v1", kind: "RuntimeClass", metadata, handler: "runc" };
  await cluster.kubectl(["apply", "-f", "-"], { input: JSON.stringify(plain) });
}
