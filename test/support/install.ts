import type { Cluster } from "../../cluster/cluster.ts";
import { installKcr as install } from "../../cluster/install.ts";
import { progressTo } from "../../cluster/progress.ts";

/** Installs kcr in the cluster that the end-to-end tests share: as a user's, with waits that suit tests. */
export async function installKcr(cluster: Cluster): Promise<void> {
  await install(cluster, { progress: progressTo(), settings: { restore: { stableSeconds: 10 } } });
}
