import type { TestProject } from "vitest/node";
import { whyNotBinaries } from "../../cluster/binaries.ts";
import { progressTo } from "../../cluster/progress.ts";
import { startApiServer } from "../support/apiserver.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** Path of an administrator's kubeconfig for the API server all integration tests share. */
    kubeconfig: string | undefined;
    /** Why there is no API server; tests then skip, by name and with this reason. */
    whyNotApiServer: string | undefined;
  }
}

/** Starts one API server for all integration tests. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const reason = await whyNotBinaries();
  project.provide("whyNotApiServer", reason);
  if (reason !== undefined) {
    project.provide("kubeconfig", undefined);
    console.warn(`tests that need an API server are skipped: ${reason}`);
    return async () => {};
  }
  const server = await startApiServer({ progress: progressTo() });
  project.provide("kubeconfig", server.kubeconfig);
  return () => server.stop();
}
