import type { Cluster } from "../cluster/cluster.ts";
import type { InstallOptions } from "../cluster/install.ts";
import { until } from "../cluster/wait.ts";
import { RUNTIME_HANDLER } from "../src/api/checkpoint.ts";
import { RUNTIME_LABEL, RUNTIME_READY, SELFTEST_ANNOTATION } from "../src/api/labels.ts";
import { Client } from "../src/kube/client.ts";
import { type Node, nodes } from "../src/kube/resources.ts";
import { workerFor } from "./stage.ts";
import type { Strategy } from "./strategy.ts";

const PATIENCE_MS = 300_000;

/**
 * Waits until the strategy's worker is known to restore with kcr's handler: its agent has seen it do so.
 *
 * Errors: not in time, with what keeps it.
 */
export async function handlerReady(
  cluster: Cluster,
  strategy: Strategy,
  { progress, signal }: Required<Pick<InstallOptions, "progress" | "signal">>,
): Promise<void> {
  const name = workerFor(strategy, cluster);
  const client = Client.fromConfig({ kubeconfig: cluster.kubeconfigPath, userAgent: "kcr-demo" });
  let state = "not known";
  const look = async (): Promise<boolean> => {
    const node = await client.get(nodes, { name }, { signal });
    state = stateOf(node);
    return isReady(node);
  };
  try {
    await progress.task(`waiting for kcr's runtime handler on ${name}`, (detail) =>
      until("ready", () => look().finally(() => detail(state)), { timeoutMs: PATIENCE_MS, signal }),
    );
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Error(`kcr's runtime handler does not work on ${name}: ${state}`, { cause: error });
  } finally {
    client.close();
  }
}

const isReady = ({ metadata }: Node): boolean => metadata.labels?.[RUNTIME_LABEL] === RUNTIME_READY;

/** How far a node is on its way to the label, in words. */
export function stateOf({ metadata, status }: Node): string {
  if (isReady({ metadata } as Node)) return "it works";
  if (!status?.runtimeHandlers?.some((handler) => handler.name === RUNTIME_HANDLER)) {
    return "its runtime does not offer it yet";
  }
  const failed = failureIn(metadata.annotations?.[SELFTEST_ANNOTATION]);
  return failed ?? "the agent has it restore a pod of its own";
}

/** What the agent wrote of a self-test that failed. */
function failureIn(annotation: string | undefined): string | undefined {
  try {
    const { result, message } = JSON.parse(annotation ?? "{}");
    return result === "failed" ? `its self-test failed: ${message}` : undefined;
  } catch {
    return undefined;
  }
}
