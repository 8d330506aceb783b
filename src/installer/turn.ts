import { randomUUID } from "node:crypto";
import { ERRORS } from "../api/errors.ts";
import { runAsLeader } from "../kube/leader.ts";
import { type Node, nodes } from "../kube/resources.ts";
import { delay } from "../kube/signals.ts";
import { type Context, warn } from "./context.ts";
import { HANDLERS } from "./handlers.ts";
import { processOf } from "./process.ts";
import { isRestartOwed, planRestart, restart, restartDone } from "./restart.ts";
import { isServing, type NodeRuntime } from "./runtime.ts";

const LEASE = "kcr-installer";
/** How often is looked; how long the kubelet may take to say which handlers there are; when a person is told. */
const POLL_MS = 1_000;
const KUBELET_MS = 30_000;
const PATIENCE_MS = 60_000;

/** Whether the node shall show kcr's handlers. */
export type Wanted = "shown" | "gone";

/**
 * Has the runtime read its configuration anew, if it has not: one node of the cluster at a time.
 *
 * Flow: nothing is owed and the node shows what is wanted: done. Else take the Lease, restart, and hold the Lease
 * until the runtime answers, the node is Ready and shows what is wanted.
 *
 * Guarantees: a node that does not come back stops the others: its installer holds the Lease for as long as it runs.
 * Returns whether the runtime was restarted. Errors: KcrError RuntimeRestartUnclear; the signal's reason.
 */
export async function bringIntoForce(
  context: Context,
  runtime: NodeRuntime,
  wanted: Wanted,
  signal: AbortSignal,
): Promise<boolean> {
  const { client, node: name, host, settings, log, pod } = context;
  const shows = async () => showsHandlers(await client.get(nodes, { name }, { signal }), wanted);
  const owed = await isRestartOwed(host, runtime.pid);
  if (!owed && (await until(shows, signal, KUBELET_MS))) return false;

  const how = await planRestart(runtime.pid, settings.installer.restart);
  const lease = {
    client,
    namespace: pod.namespace ?? "kcr-system",
    name: LEASE,
    identity: `${name}_${randomUUID().slice(0, 8)}`,
    log,
  };
  await runAsLeader(
    lease,
    async (leading) => {
      log.info({ pid: runtime.pid, how }, "restarting the container runtime");
      await restart(host, runtime.pid, how, leading);
      const isBack = async () => {
        if ((await processOf(runtime.pid)) !== undefined || !(await isServing(runtime.address))) return false;
        const node = await client.get(nodes, { name }, { signal: leading });
        return isReady(node) && showsHandlers(node, wanted);
      };
      if (!(await until(isBack, leading, PATIENCE_MS))) {
        warn(context, "HandlerMissing", ERRORS.HandlerMissing.means);
        await until(isBack, leading);
      }
      await restartDone(host);
    },
    signal,
  );
  signal.throwIfAborted();
  return true;
}

/** Whether it came true in time. Errors of a look are a no; the signal's reason. */
async function until(
  look: () => Promise<boolean>,
  signal: AbortSignal,
  timeoutMs = Number.POSITIVE_INFINITY,
): Promise<boolean> {
  const start = performance.now();
  while (true) {
    if (await look().catch(() => false)) return true;
    if (performance.now() - start > timeoutMs) return false;
    await delay(POLL_MS, signal);
  }
}

/** Whether a node shows all of kcr's handlers, or none. */
export function showsHandlers(node: Node, wanted: Wanted): boolean {
  const shown = (node.status?.runtimeHandlers ?? []).map(({ name }) => name);
  return HANDLERS.every((name) => shown.includes(name) === (wanted === "shown"));
}

const isReady = ({ status }: Node): boolean =>
  status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;
