import type { Checkpoint } from "../api/checkpoint.ts";
import type { CheckpointRequest } from "../api/request.ts";
import type { CheckpointRestore } from "../api/restore.ts";
import type { CheckpointSchedule } from "../api/schedule.ts";
import type { Settings } from "../api/settings.ts";
import type { Cache } from "../kube/cache.ts";
import type { Client } from "../kube/client.ts";
import type { EventRecorder } from "../kube/events.ts";
import type { Logger } from "../kube/log.ts";
import type { Metrics } from "../kube/metrics.ts";
import type { Tracer } from "../kube/otlp.ts";
import type { Node, Pod } from "../kube/resources.ts";
import type { Layout } from "../store/layout.ts";
import type { Archives } from "./archives.ts";
import type { DumpEngine } from "./dump/engine.ts";
import type { NodeFacts } from "./facts/node-facts.ts";
import type { Ahead } from "./image/ahead.ts";
import type { Locks } from "./locks.ts";
import type { AgentMetricName } from "./metrics.ts";
import type { Pins } from "./store/pins.ts";
import type { LocalStore } from "./store/store.ts";
import type { Transfer } from "./transfer/transfer.ts";

/** What every controller of the agent is given. */
export interface Context {
  /** Name of the node whose agent this is. */
  node: string;
  client: Client;
  settings: Settings;
  /** What dumps the node's containers. */
  engine: DumpEngine;
  /** What is known of the node, by which checkpoints fit it or do not. */
  facts: NodeFacts;
  archives: Archives;
  /** Archives on their way to the registry while they are made. */
  ahead?: Ahead | undefined;
  /** kcr's directory on the node. */
  layout: Layout;
  /** The unpacked checkpoints there, and which of them must stay. */
  store: LocalStore;
  pins: Pins;
  /** By a Checkpoint's UID: whoever makes or removes its copy. */
  locks: Locks;
  /** Copies of other nodes, where they are handed on. */
  transfer?: Pick<Transfer, "fetch"> | undefined;
  recorder: Pick<EventRecorder, "record">;
  log: Logger;
  metrics?: Metrics<AgentMetricName>;
  /** Where spans go, if they are wanted. */
  tracer?: Tracer | undefined;
  now(): Date;
  caches: {
    /** Requests stamped with this node, and Checkpoints whose archive was made on it. */
    requests: Cache<CheckpointRequest>;
    checkpoints: Cache<Checkpoint>;
    /** The node's pods, what persons ask for their containers, and all schedules. */
    pods: Cache<Pod>;
    restores: Cache<CheckpointRestore>;
    schedules: Cache<CheckpointSchedule>;
    /** The node itself. */
    nodes: Cache<Node>;
  };
}

/** The pod that an agent runs in. */
export interface Self {
  namespace: string;
  pod: string;
}

/** Names of the caches' indexes. */
export const BY_UID = "uid";
export const BY_NAMESPACE = "namespace";
export const BY_POD_UID = "pod-uid";
