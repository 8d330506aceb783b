import { nodes } from "../kube/resources.ts";
import { Layout } from "../store/layout.ts";
import { formatConf } from "./conf.ts";
import { type Context, tell } from "./context.ts";
import { onHost, putBack } from "./host.ts";
import { installProgram, partsOfImage } from "./program.ts";
import { oweRestart } from "./restart.ts";
import { nodeRuntime } from "./runtime.ts";
import { bringIntoForce } from "./turn.ts";

/**
 * Has this node offer the handlers `kcr` and `kcr-selftest`. Level-based: what is as it should be is left alone, and
 * a run that was cut short is taken up by the next.
 *
 * Errors: KcrError of a node that is not understood; then its runtime's configuration is as it was.
 */
export async function install(context: Context, signal: AbortSignal): Promise<void> {
  const { client, host, settings, node: name } = context;
  const runtime = await nodeRuntime(host, await client.get(nodes, { name }, { signal }), signal);
  const layout = new Layout();
  const conf = formatConf(
    { runtime: runtime.original, state: layout.root, containerdRoot: runtime.containerdRoot },
    settings.runtime,
  );
  const { version, changed } = await installProgram(host, partsOfImage(context.runtimeFiles), conf, signal);
  await putBack(onHost(host, layout.disabled), undefined);
  await runtime.addHandlers(() => oweRestart(host, runtime.pid), signal);
  const restarted = await bringIntoForce(context, runtime, "shown", signal);
  const what = [changed && `version ${version} put in place`, restarted && "the container runtime restarted"];
  const done = what.filter((text) => text !== false).join(", ");
  tell(context, "HandlerReady", done || "nothing was to be done");
}
