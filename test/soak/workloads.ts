import { SCHEDULE_ANNOTATION } from "../../src/api/labels.ts";
import { scheduleName } from "../../src/api/names.ts";
import { deployments, type Pod, pods, statefulSets } from "../../src/kube/resources.ts";
import { PLAIN_CLASS } from "../support/install.ts";
import { waitFor } from "../support/wait-for.ts";
import type { World } from "../support/world.ts";
import { type Counter, counters } from "./counters.ts";

export type Strategy = "Runtime" | "Image";

/** One counter in a workload of one pod. */
export interface Workload {
  readonly name: string;
  readonly kind: "Deployment" | "StatefulSet";
  /** How it is restored: by the handler of its pod's class, or through its image. */
  readonly strategy: Strategy;
  readonly counter: Counter;
  readonly node: string;
  /** How often it is checkpointed by itself. */
  readonly schedule: string;
}

export const CONTAINER = "app";
const EACH_MINUTE = "* * * * *";
/** For those with tens of megabytes in memory: nothing here takes an image's blobs away again. */
const NOW_AND_THEN = "*/3 * * * *";

/** Twelve: half of them restored in each way, on both versions of containerd where that can be. */
export function workloadsOf(world: World): Workload[] {
  // Only this one restores images.
  const [images, other] = [world.worker("2.3"), world.worker("2.4")];
  const { shell, python, node, java, redis } = counters;
  const make = (
    strategy: Strategy,
    counter: Counter,
    on: string,
    { kind = "Deployment" as Workload["kind"], schedule = EACH_MINUTE, stem = counter.name } = {},
  ): Workload => ({
    name: `${strategy.toLowerCase()}-${stem}`,
    kind,
    strategy,
    counter,
    node: on,
    schedule,
  });
  const set = { kind: "StatefulSet", stem: "set" } as const;
  const heavy = { schedule: NOW_AND_THEN };
  return [
    make("Runtime", shell, other),
    make("Runtime", python, images),
    make("Runtime", redis, other),
    make("Runtime", shell, images, set),
    make("Runtime", node, other, heavy),
    make("Runtime", java, other, heavy),
    make("Image", shell, images),
    make("Image", python, images),
    make("Image", redis, images),
    make("Image", shell, images, set),
    make("Image", python, images, { stem: "more" }),
    make("Image", node, images, heavy),
  ];
}

/** Name of the CheckpointSchedule that a workload's annotation makes. */
export const scheduleOf = ({ name, kind }: Workload): string => scheduleName(name, kind);

/** Creates the workload and waits until a pod of it is ready that has the class it needs. */
export async function deploy(world: World, workload: Workload): Promise<Pod> {
  const { name, kind, strategy, counter, node, schedule } = workload;
  const object = {
    apiVersion: "apps/v1",
    kind,
    metadata: { namespace: world.namespace, name, annotations: { [SCHEDULE_ANNOTATION]: schedule } },
    spec: {
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: {
          nodeSelector: { "kubernetes.io/hostname": node },
          terminationGracePeriodSeconds: 1,
          automountServiceAccountToken: false,
          ...(strategy === "Image" ? { runtimeClassName: PLAIN_CLASS } : {}),
          containers: [{ name: CONTAINER, ...(await counter.container(world)) }],
        },
      },
      ...(kind === "StatefulSet" ? { serviceName: name } : {}),
    },
  };
  if (kind === "Deployment") await world.client.create(deployments, object as never);
  else await world.client.create(statefulSets, object as never);
  const wanted = strategy === "Runtime" ? "kcr" : PLAIN_CLASS;
  return await waitFor(
    `a ready pod of ${name} with RuntimeClass ${wanted}`,
    async () => {
      const pod = await podOf(world, workload, "ready");
      if (pod === undefined || pod.spec?.runtimeClassName === wanted) return pod;
      // On a machine that is busy with much else the webhook may not have had its turn: the next pod is given it.
      await world.client.delete(pods, pod.metadata);
      return undefined;
    },
    { timeoutMs: 300_000, intervalMs: 1_000 },
  );
}

/** Its pod as it is now, if there is one. */
export async function podOf(
  world: World,
  { name }: Workload,
  wanted: "any" | "ready" = "any",
): Promise<Pod | undefined> {
  const labelSelector = `app=${name}`;
  const { items } = await world.client.list(pods, { namespace: world.namespace, labelSelector });
  return items.find(
    ({ metadata, status }) =>
      metadata.deletionTimestamp === undefined &&
      (wanted === "any" || status?.conditions?.some((c) => c.type === "Ready" && c.status === "True")),
  );
}
