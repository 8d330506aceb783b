import type { Client } from "../../src/kube/client.ts";
import { isAlreadyExists } from "../../src/kube/errors.ts";
import { type KubeObject, resource } from "../../src/kube/resources.ts";

const runtimeClasses = resource<KubeObject & { handler: string }>({
  group: "node.k8s.io",
  version: "v1",
  plural: "runtimeclasses",
  kind: "RuntimeClass",
  namespaced: false,
});

/** Makes kcr's RuntimeClasses, for every node. Doing it twice is harmless. */
export async function installRuntimeClasses(client: Client): Promise<void> {
  for (const name of ["kcr", "kcr-selftest"]) {
    await client.create(runtimeClasses, { metadata: { name }, handler: name }).catch((error: unknown) => {
      if (!isAlreadyExists(error)) throw error;
    });
  }
}
