import { isForbidden } from "../../kube/errors.ts";
import { deployments } from "../../kube/resources.ts";
import type { Connection } from "../cluster.ts";

export interface PartVersion {
  part: string;
  version: string;
}

/**
 * The version of Kubernetes, and the images of kcr's programs where the account may see them.
 *
 * Errors: those of the API.
 */
export async function clusterVersions({ client }: Connection, signal: AbortSignal): Promise<PartVersion[]> {
  const { gitVersion } = await client.request<{ gitVersion: string }>("GET", "/version", { signal });
  const labelSelector = "app.kubernetes.io/part-of=kcr";
  const programs = await client.listAll(deployments, { labelSelector, signal }).catch((error: unknown) => {
    // Most people see but their own namespaces; what they may know they are told.
    if (!isForbidden(error)) throw error;
    return { items: [] };
  });
  return [
    { part: "kubernetes", version: gitVersion },
    ...programs.items.flatMap(({ metadata, spec }) =>
      (spec?.template.spec?.containers ?? []).map(({ image = "" }) => ({
        part: metadata.name,
        version: image,
      })),
    ),
  ];
}
