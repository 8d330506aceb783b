import { stringify } from "yaml";
import { SCHEDULE_ANNOTATION } from "../src/api/labels.ts";

export const NAMESPACE = "demo";
export const NAME = "redis";
export const CONTAINER = "redis";
export const SCHEDULE = "*/1 * * * *";

/** A Redis that writes nothing to disk, protected by one annotation, on one node; of a RuntimeClass, if one is named. */
export function redisDeployment(image: string, node: string, runtimeClassName?: string): object {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: NAME, namespace: NAMESPACE, annotations: { [SCHEDULE_ANNOTATION]: SCHEDULE } },
    spec: {
      selector: { matchLabels: { app: NAME } },
      template: {
        metadata: { labels: { app: NAME } },
        spec: {
          ...(runtimeClassName === undefined ? {} : { runtimeClassName }),
          nodeSelector: { "kubernetes.io/hostname": node },
          containers: [{ name: CONTAINER, image, ports: [{ containerPort: 6379 }] }],
        },
      },
    },
  };
}

/** The lines of a manifest that a person looks at first. */
export function excerpt(manifest: object, lines: number): string {
  return [...stringify(manifest).split("\n").slice(0, lines), "..."].join("\n");
}
