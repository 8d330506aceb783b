import type { Checkpoint } from "../api/checkpoint.ts";
import type { CheckpointRequest } from "../api/request.ts";
import type { Settings } from "../api/settings.ts";
import type { Cache } from "../kube/cache.ts";
import type { Client } from "../kube/client.ts";
import type { EventRecorder } from "../kube/events.ts";
import type { Logger } from "../kube/log.ts";
import type { Metrics } from "../kube/metrics.ts";
import type { Archives } from "./archives.ts";
import type { KubeletOptions } from "./kubelet.ts";

/** What both controllers of the agent are given. */
export interface Context {
  /** Name of the node whose agent this is. */
  node: string;
  client: Client;
  settings: Settings;
  kubelet: KubeletOptions;
  archives: Archives;
  recorder: Pick<EventRecorder, "record">;
  log: Logger;
  metrics?: Metrics;
  now(): Date;
  caches: {
    /** Requests stamped with this node, and Checkpoints whose archive was made on it. */
    requests: Cache<CheckpointRequest>;
    checkpoints: Cache<Checkpoint>;
  };
}
