import type { Checkpoint } from "../../src/api/checkpoint.ts";
import type { ContainerStatus } from "../../src/api/pod.ts";
import { nodes, type Pod, pods } from "../../src/kube/resources.ts";
import { Layout } from "../../src/store/layout.ts";
import type { Plan } from "../../src/store/plan.ts";
import { waitFor } from "./wait-for.ts";
import type { DeployOptions, World } from "./world.ts";

/** Verbs for pods of RuntimeClass kcr, whose containers are restored by their node's handler. */

/** kcr's directory on a node. */
export const KCR = new Layout();

/** Waits until nodes are known to restore; all workers, unless they are named. */
export async function handlersReady(world: World, ...names: string[]): Promise<void> {
  for (const name of names.length > 0 ? names : world.cluster.nodes.map((node) => node.name)) {
    await waitFor(
      `${name} to be ready for pods of class kcr`,
      async () => (await world.client.get(nodes, { name })).metadata.labels?.["kcr.io/runtime"] === "ready",
      { timeoutMs: 240_000 },
    );
  }
}

/** A pod goes without the class when the webhook does not answer in time, as on a node that has much to do. */
const CLASS_TRIES = 3;

/** Deploys what the handler is to restore, and sees that the pod was given the class for it. */
export async function deployProtected(world: World, options: DeployOptions): Promise<Pod> {
  let pod = await world.deploy({ ...options, by: "handler" });
  for (let tries = 1; pod.spec?.runtimeClassName !== "kcr"; tries++) {
    const { name, uid, labels } = pod.metadata;
    if (tries === CLASS_TRIES) {
      throw new Error(`${name} was given the RuntimeClass ${pod.spec?.runtimeClassName}, not kcr`);
    }
    await world.client.delete(pods, pod.metadata);
    pod = await waitFor(`a pod in place of ${name}`, async () => {
      const next = await world.podOf(labels?.["app"] ?? "");
      return next.metadata.uid !== uid && next;
    });
  }
  return pod;
}

/** What the pod's node has in mind for the next start of a container. */
export async function planOf(world: World, pod: Pod, container = "app"): Promise<Plan | undefined> {
  const path = KCR.plan({ podUID: pod.metadata.uid ?? "", container });
  const text = await world.cluster.nodeExec(pod.spec?.nodeName ?? "", ["cat", path]).catch(() => "");
  return text === "" ? undefined : (JSON.parse(text) as Plan);
}

/** Waits until a crash of the container would be restored from this Checkpoint, whoever is down then. */
export async function planned(
  world: World,
  pod: Pod,
  checkpoint: Checkpoint,
  container = "app",
): Promise<Plan> {
  return await waitFor(`a plan with ${checkpoint.metadata.name}`, async () => {
    const plan = await planOf(world, pod, container);
    return plan?.candidates[0]?.uid === checkpoint.metadata.uid && plan;
  });
}

/** Takes a checkpoint of a container as it is now; from then on a crash is restored from it. */
export async function capture(world: World, pod: Pod, container = "app"): Promise<Checkpoint> {
  const checkpoint = await world.checkpoint(pod, container);
  await planned(world, pod, checkpoint, container);
  return checkpoint;
}

/** Waits until a run of the container after `after` runs. */
export function nextRun(world: World, pod: Pod, after: number, container = "app"): Promise<ContainerStatus> {
  return waitFor(
    `container ${container} to run again`,
    async () => {
      const status = await world.container(pod, container);
      return status.restartCount > after && status.state?.running !== undefined && status;
    },
    { timeoutMs: 120_000, intervalMs: 50 },
  );
}

/** Kills the container and waits for its next run. */
export async function crash(world: World, pod: Pod, container = "app"): Promise<ContainerStatus> {
  const { restartCount } = await world.container(pod, container);
  await world.kill(pod, container);
  return await nextRun(world, pod, restartCount, container);
}

/** What the Event says that a container of the pod was restored; the same is said of its workload. */
export async function saidRestored(world: World, pod: Pod, workload: string): Promise<string> {
  const { note = "" } = await world.event("Restored", pod.metadata.name);
  await world.event("Restored", workload);
  return note;
}
