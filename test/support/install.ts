import type { Cluster } from "../../cluster/cluster.ts";
import { type InstallOptions, installKcr as install } from "../../cluster/install.ts";
import { progressTo } from "../../cluster/progress.ts";

/**
 * Installs kcr in the cluster that the end-to-end tests share: as a user's, with waits that suit tests. A test that
 * installs it with other settings puts this installation back.
 */
export async function installKcr(cluster: Cluster, settings: InstallOptions["settings"] = {}): Promise<void> {
  await install(cluster, {
    progress: progressTo(),
    settings: { restore: { stableSeconds: 10 }, ...settings },
  });
}
