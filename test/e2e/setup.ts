import type { TestProject } from "vitest/node";
import { whyNotCluster } from "../../cluster/binaries.ts";
import { down, up } from "../../cluster/cluster.ts";
import { progressTo } from "../../cluster/progress.ts";
import { installKcr } from "../support/install.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** Name of the cluster all end-to-end tests share, for `attach`: worker-1 has containerd 2.3, worker-2 2.4. */
    cluster: string | undefined;
    /** Why there is none; tests then skip, by name and with this reason. */
    whyNotCluster: string | undefined;
  }
}

const name = process.env["KCR_TEST_CLUSTER"] ?? "kcr-test";

/**
 * Brings one cluster with kcr in it up for all end-to-end tests, and takes it down at the end unless
 * KCR_KEEP_CLUSTER=1. A cluster that was kept is used again.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const reason = await whyNotCluster();
  project.provide("whyNotCluster", reason);
  project.provide("cluster", reason === undefined ? name : undefined);
  if (reason !== undefined) {
    console.warn(`tests that need the local cluster are skipped: ${reason}`);
    return async () => {};
  }
  const progress = progressTo();
  const takeDown = async () => {
    if (process.env["KCR_KEEP_CLUSTER"] === "1") {
      console.warn(`cluster ${name} is kept: npm run cluster -- down --name ${name} takes it away`);
      return;
    }
    await down({ name, progress });
  };
  try {
    await installKcr(await up({ name, containerd: ["2.3", "2.4"], progress }));
  } catch (error) {
    await takeDown();
    throw error;
  }
  return takeDown;
}
