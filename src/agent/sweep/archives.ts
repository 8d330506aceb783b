import { checkpoints, clusterRetentions, requests } from "../../api/kinds.ts";
import type { ClusterCheckpointRetention } from "../../api/retention.ts";
import { parseDuration } from "../../kube/duration.ts";
import type { Context } from "../context.ts";
import { inspect, unfit } from "../inspect.ts";
import { fateOf, SAFE_MS } from "./decide.ts";

/**
 * Removes archives of the kubelet's directory that belong to nothing: half-written ones and others that a dump left
 * behind which was given up, and those of others where the cluster says so.
 *
 * Guarantees: before the first removal the API server has told of all Checkpoints and requests of the node; without
 * that nothing goes. One archive is looked at after another.
 * Errors: those of the API and of the file system; nothing was removed on a picture that was not whole.
 */
export async function sweepForeign(
  { node, client, archives, log, now }: Pick<Context, "node" | "client" | "archives" | "log" | "now">,
  signal: AbortSignal,
): Promise<void> {
  const isOld = ({ modified }: { modified: Date }) => now().getTime() - modified.getTime() >= SAFE_MS;
  const old = (await archives.all()).filter(isOld);
  if (old.length === 0) return;
  const [ofRequests, policies] = await Promise.all([
    client.listAll(requests, { fieldSelector: `status.nodeName=${node}`, signal }),
    client.listAll(clusterRetentions, { signal }),
  ]);
  // After the requests: one that has ended has made its Checkpoint before.
  const ofCheckpoints = await client.listAll(checkpoints, { fieldSelector: `spec.nodeName=${node}`, signal });
  const around = {
    checkpoints: ofCheckpoints.items,
    requests: ofRequests.items,
    foreignMs: foreignMs(policies.items),
  };
  for (const file of old) {
    signal.throwIfAborted();
    const captured = await inspect(archives, file.name).catch(unfit);
    const found = { file, containerID: captured?.identity.containerId };
    const fate = fateOf(found, { ...around, now: now() });
    if (fate.type === "keep") continue;
    await archives.remove(file.name);
    const request = fate.type === "leftover" ? fate.request.metadata.name : undefined;
    log.info(
      { archive: file.name, why: fate.type, request },
      "an archive that belongs to nothing was removed",
    );
  }
}

/**
 * The shortest age that a policy gives archives of others; what cannot be read says nothing, nor does a policy for some
 * namespaces: whose an archive of others is nobody tells.
 */
function foreignMs(policies: readonly ClusterCheckpointRetention[]): number | undefined {
  const ages = policies
    .filter(({ spec }) => spec.namespaceSelector === undefined && spec.dryRun !== true)
    .flatMap(({ spec }) => {
      try {
        return [parseDuration(spec.foreignArchives?.maxAge ?? "")];
      } catch {
        return [];
      }
    });
  return ages.length === 0 ? undefined : Math.min(...ages);
}
