import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { nodes, type Pod, pods } from "../kube/resources.ts";
import { delay } from "../kube/signals.ts";
import { namesIn } from "../store/files.ts";
import { Layout } from "../store/layout.ts";
import { type Context, tell, warn } from "./context.ts";
import { HANDLERS } from "./handlers.ts";
import { type Host, onHost, writeForAll } from "./host.ts";
import { disableProgram, removeProgram } from "./program.ts";
import { oweRestart } from "./restart.ts";
import { nodeRuntime } from "./runtime.ts";
import { bringIntoForce } from "./turn.ts";

const POLL_MS = 2_000;

export interface UninstallOptions {
  /** Take the names away at once: containers run on and can be ended, but none is started again. */
  force?: boolean;
  /** Remove kcr's directory too, with all copies of checkpoints: nothing else of kcr runs on the node any more. */
  purge?: boolean;
}

/**
 * Takes the handlers away from this node, in two steps: at once they restore nothing any more and pass everything on
 * to the runtime behind them; their names and files go when no pod needs them. The runtime cannot start a container
 * in a pod whose handler it does not know, and what watches over a container calls its program to the end.
 */
export async function uninstall(
  context: Context,
  { force = false, purge = false }: UninstallOptions,
  signal: AbortSignal,
): Promise<void> {
  const { client, host, node: name } = context;
  const layout = new Layout();
  await disableProgram(host);
  // For the agent, which has the node not be chosen for new pods of the class.
  await writeForAll(onHost(host, layout.disabled), "");
  if (purge) await removeAll(host, [dirname(layout.blobs), layout.plans, layout.dumps, layout.selftest]);
  let users = await podsOfHandlers(context, signal);
  if (users.length > 0 && !force) {
    warn(context, "HandlerInUse", `nothing is restored any more; waiting for the end of ${describe(users)}`);
    for (; users.length > 0; users = await podsOfHandlers(context, signal)) await delay(POLL_MS, signal);
  }
  const runtime = await nodeRuntime(host, await client.get(nodes, { name }, { signal }), signal);
  await runtime.removeHandlers(() => oweRestart(host, runtime.pid), signal);
  const restarted = await bringIntoForce(context, runtime, "gone", signal);
  users = await podsOfHandlers(context, signal);
  if (users.length === 0) {
    await removeProgram(host);
    if (purge) await removeDirectory(onHost(host, layout.root));
  }
  tell(
    context,
    "HandlerRemoved",
    `${restarted ? "the container runtime restarted" : "nothing was to be done"}${users.length > 0 ? `; the files stay for ${describe(users)}` : ""}`,
  );
}

const removeAll = (host: Host, paths: readonly string[]): Promise<unknown> =>
  Promise.all(paths.map((path) => rm(onHost(host, path), { recursive: true, force: true })));

/** A directory that may be a disk of its own, which stays then, empty. */
async function removeDirectory(path: string): Promise<void> {
  const names = await namesIn(path);
  await Promise.all(names.map((name) => rm(join(path, name), { recursive: true, force: true })));
  await rm(path, { recursive: true, force: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EBUSY") throw error;
  });
}

/**
 * The node's pods of the handlers, those that have ended too: the runtime does not know what it keeps of a container
 * any more when it is started without the container's handler, and would never remove it.
 */
async function podsOfHandlers({ client, node }: Context, signal: AbortSignal): Promise<Pod[]> {
  const { items } = await client.list(pods, { fieldSelector: `spec.nodeName=${node}`, signal });
  return items.filter(({ spec }) => HANDLERS.some((name) => name === spec?.runtimeClassName));
}

const describe = (users: readonly Pod[]): string => {
  const names = users.slice(0, 3).map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
  return `${users.length} pods: ${names.join(", ")}${users.length > 3 ? ", ..." : ""}`;
};
