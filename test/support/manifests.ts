import { ensureBinaries } from "../../cluster/binaries.ts";
import { run } from "../../cluster/run.ts";
import type { ApiServer } from "./apiserver.ts";

/** Applies config/ as it is to an API server, as a person does. */
export async function applyManifests(api: ApiServer): Promise<void> {
  const { "kubernetes/kubectl": kubectl = "kubectl" } = await ensureBinaries(["kubernetes/kubectl"]);
  await run([kubectl, "--kubeconfig", api.kubeconfig, "apply", "--server-side", "-k", "config"]);
}
