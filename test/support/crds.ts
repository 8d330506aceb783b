import { customResourceDefinitions as definitions } from "../../src/api/crd.ts";
import { FIELD_MANAGER } from "../../src/api/group.ts";
import type { Client } from "../../src/kube/client.ts";
import { type CustomResourceDefinition, customResourceDefinitions } from "../../src/kube/resources.ts";
import { waitFor } from "./wait-for.ts";

/** Installs kcr's kinds and waits until the API server serves them. Doing it twice is harmless. */
export async function installCrds(client: Client): Promise<void> {
  for (const definition of definitions().values()) {
    const crd = definition as CustomResourceDefinition;
    await client.apply(customResourceDefinitions, crd, { fieldManager: FIELD_MANAGER, force: true });
    await waitFor(`CRD ${crd.metadata.name} to be served`, async () => {
      const { status } = await client.get(customResourceDefinitions, crd.metadata);
      return status?.conditions?.some((c) => c.type === "Established" && c.status === "True");
    });
  }
}
