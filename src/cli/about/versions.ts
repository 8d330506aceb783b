import { deployments } from "../../kube/resources.ts";
import type { Connection } from "../cluster.ts";

/** The images of kcr's programs, and the version of Kubernetes. Errors: those of the API. */
export async function clusterVersions(
  { client }: Connection,
  signal: AbortSignal,
): Promise<{ part: string; version: string }[]> {
  const { gitVersion } = await client.request<{ gitVersion: string }>("GET", "/version", { signal });
  const operators = await client.list(deployments, {
    labelSelector: "app.kubernetes.io/part-of=kcr",
    signal,
  });
  return [
    { part: "kubernetes", version: gitVersion },
    ...operators.items.flatMap(({ metadata, spec }) =>
      (spec?.template.spec?.containers ?? []).map(({ image = "" }) => ({
        part: metadata.name,
        version: image,
      })),
    ),
  ];
}
