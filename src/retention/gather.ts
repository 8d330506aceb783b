import {
  checkpoints,
  clusterRetentions,
  downloads,
  requests,
  restores,
  retentions,
  schedules,
} from "../api/kinds.ts";
import type { ClusterCheckpointRetention } from "../api/retention.ts";
import type { Client } from "../kube/client.ts";
import { type KubeObject, namespaces, pods, type Resource } from "../kube/resources.ts";
import type { Surroundings } from "./facts.ts";
import type { Sources } from "./rules.ts";

/** All that decides about the Checkpoints of one namespace. */
export interface Picture extends Omit<Sources, "builtIn">, Surroundings {}

/**
 * Reads it from the API server. `without` is asked what to make of an error about something of the whole cluster, which
 * not everybody may read; by default it stays an error.
 *
 * Errors: any, of any part: without one of them there is no picture.
 */
export async function readPicture(
  client: Client,
  namespace: string,
  options: { now: Date; signal: AbortSignal; without?: (error: unknown) => void },
): Promise<Picture> {
  const {
    now,
    signal,
    without = (error: unknown) => {
      throw error;
    },
  } = options;
  const all = async <T extends KubeObject>(resource: Resource<T>): Promise<T[]> =>
    (await client.listAll(resource, resource.namespaced ? { namespace, signal } : { signal })).items;
  const [labels, ofCluster, ofRetentions, ofSchedules, ofCheckpoints, ofRequests, ofPods] = await Promise.all(
    [
      client.get(namespaces, { name: namespace }, { signal }).then(
        ({ metadata }) => metadata.labels ?? {},
        (error: unknown) => {
          without(error);
          return undefined;
        },
      ),
      all(clusterRetentions).catch((error: unknown): ClusterCheckpointRetention[] => {
        without(error);
        return [];
      }),
      all(retentions),
      all(schedules),
      all(checkpoints),
      all(requests),
      all(pods),
    ],
  );
  // After the Checkpoints: who uses one of these is known then.
  const [ofRestores, ofDownloads] = await Promise.all([all(restores), all(downloads)]);
  return {
    namespaceLabels: labels,
    clusterRetentions: ofCluster,
    retentions: ofRetentions,
    schedules: ofSchedules,
    checkpoints: ofCheckpoints,
    requests: ofRequests,
    pods: ofPods,
    restores: ofRestores,
    downloads: ofDownloads,
    now,
  };
}
