import { randomUUID } from "node:crypto";
import type { Client } from "../../src/kube/client.ts";
import { namespaces } from "../../src/kube/resources.ts";

/** Creates a namespace that no other test has, and gives its name. */
export async function makeNamespace(client: Client, stem: string): Promise<string> {
  const name = `${stem}-${randomUUID().slice(0, 8)}`;
  await client.create(namespaces, { apiVersion: "v1", kind: "Namespace", metadata: { name } });
  return name;
}
