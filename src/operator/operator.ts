import { randomUUID } from "node:crypto";
import type { Registry } from "prom-client";
import { readFetched } from "../api/fetched.ts";
import { checkpoints, isTerminal, requests, restores, schedules } from "../api/kinds.ts";
import { hasHandlerReady } from "../api/selftest.ts";
import type { Settings } from "../api/settings.ts";
import { Cache } from "../kube/cache.ts";
import type { Client } from "../kube/client.ts";
import { EventRecorder } from "../kube/events.ts";
import { runAsLeader } from "../kube/leader.ts";
import type { Logger } from "../kube/log.ts";
import { type Metrics, noMetrics } from "../kube/metrics.ts";
import type { Tracer } from "../kube/otlp.ts";
import { nodes, type Pod, pods } from "../kube/resources.ts";
import { follow } from "../kube/signals.ts";
import { createCertificates } from "./certificates/controller.ts";
import { checkpointController } from "./checkpoint/controller.ts";
import { placesController } from "./checkpoint/places-controller.ts";
import {
  BY_COPY,
  BY_NAMESPACE,
  BY_NODE,
  BY_POD,
  BY_POD_UID,
  BY_SCHEDULE,
  BY_UID,
  byNamespace,
  type Context,
  READY_NODES,
  trimNode,
  trimPod,
  UNDER_WAY,
  WAITING,
} from "./context.ts";
import { demandController } from "./demand/controller.ts";
import { downloadCaches, downloadController } from "./download/controller.ts";
import { nodeAccounts, nodeController } from "./node/controller.ts";
import { countChanges } from "./observe/count.ts";
import { registerGauges } from "./observe/gauges.ts";
import type { OperatorMetricName } from "./observe/metrics.ts";
import { traceChanges } from "./observe/trace.ts";
import { reportController } from "./report/controller.ts";
import { isUnderWay, isWaiting } from "./request/admission.ts";
import { requestControllers } from "./request/controller.ts";
import { restoreController } from "./restore/controller.ts";
import { retentionCaches, retentionControllers } from "./retention/controller.ts";
import { scheduleController } from "./schedule/controller.ts";
import { BY_LABEL, labelOfSchedule, labelsOfPod } from "./selection.ts";
import { strategyControllers } from "./strategy/controller.ts";
import { createWebhook } from "./webhook/webhook.ts";
import { workloadController } from "./workload/controller.ts";
import { trimWorkload, workloadKinds } from "./workload/kinds.ts";

export interface OperatorOptions {
  client: Client;
  /** kcr's own namespace: of the Lease and of the pull probes. */
  namespace: string;
  /** Of this replica; made unlike its own of before by what is appended. */
  identity: string;
  settings: Settings;
  log: Logger;
  metrics?: Metrics<OperatorMetricName>;
  /** Where spans go; absent: there are none. */
  tracer?: Tracer | undefined;
  now?: () => Date;
  /** Whether it keeps an account for each node, in namespace kcr-nodes. */
  nodeAccounts?: boolean;
  /** Whether the agents have the certificates that they show each other from here. */
  transferCertificates?: boolean;
  /** Where the pod-creation webhook listens; absent: it does not. Port 0: any that is free. */
  webhook?: { port: number; host?: string };
}

export interface Operator {
  /** Whether all caches have their first whole picture, and the webhook answers. */
  ready(): boolean;
  /** Whether all caches are kept up to date, as far as the API server lets them. */
  alive(): boolean;
  /** Adds the gauges of how things stand. */
  register(registry: Registry): void;
  /** Watches, and acts while it leads, until the signal aborts. Errors: LeadershipLost; end the process then. */
  run(signal: AbortSignal): Promise<void>;
}

/** One replica of the operator. All replicas keep their caches warm; only the leader acts. */
export function createOperator(options: OperatorOptions): Operator {
  const { client, namespace, identity, log, metrics = noMetrics } = options;
  const common = { client, log, metrics };
  const caches: Context["caches"] = {
    schedules: new Cache({
      ...common,
      resource: schedules,
      indexes: { [BY_NAMESPACE]: byNamespace, [BY_LABEL]: labelOfSchedule },
    }),
    requests: new Cache({
      ...common,
      resource: requests,
      indexes: {
        [BY_NAMESPACE]: byNamespace,
        [BY_POD]: (r) => [`${r.metadata.namespace}/${r.spec.podReference.name}`],
        [BY_SCHEDULE]: (r) => [r.spec.checkpointScheduleRef?.uid ?? ""],
        [WAITING]: (r) => (isWaiting(r) ? [WAITING] : []),
        [UNDER_WAY]: (r) => (isUnderWay(r) ? [UNDER_WAY] : []),
      },
    }),
    checkpoints: new Cache({
      ...common,
      resource: checkpoints,
      indexes: {
        [BY_NAMESPACE]: byNamespace,
        [BY_COPY]: (c) => [c.status?.digest ?? ""],
        [BY_NODE]: (c) => [c.spec.nodeName],
        [BY_POD_UID]: (c) => (c.status?.lineage === undefined ? [] : [c.status.lineage.podUID]),
        [BY_SCHEDULE]: (c) =>
          c.spec.checkpointScheduleRef === undefined
            ? []
            : [`${c.metadata.namespace}/${c.spec.checkpointScheduleRef.name}`],
      },
    }),
    restores: new Cache({
      ...common,
      resource: restores,
      indexes: {
        [BY_NAMESPACE]: (r) => (isTerminal(r) ? [] : byNamespace(r)),
        [BY_POD]: (r) => (isTerminal(r) ? [] : [`${r.metadata.namespace}/${r.spec.podReference.name}`]),
      },
    }),
    pods: new Cache({
      ...common,
      resource: pods,
      transform: trimPod,
      indexes: {
        [BY_NAMESPACE]: byNamespace,
        [BY_NODE]: (pod) => [pod.spec?.nodeName ?? ""],
        [BY_UID]: (pod) => [pod.metadata.uid ?? ""],
        [BY_LABEL]: labelsOfPod,
      },
    }),
    nodes: new Cache({
      ...common,
      resource: nodes,
      transform: trimNode,
      indexes: {
        [BY_COPY]: (node) => readFetched(node).map((copy) => `sha256:${copy}`),
        [READY_NODES]: (node) => (hasHandlerReady(node) ? [READY_NODES] : []),
      },
    }),
  };
  const workloads = workloadKinds.map((resource) => ({
    resource,
    cache: new Cache({ ...common, resource, transform: trimWorkload }),
  }));
  const webhook = options.webhook && createWebhook({ ...common, ...options.webhook, namespace, caches });
  const certificates =
    options.transferCertificates && options.settings.transfer.enabled
      ? createCertificates({ ...common, namespace })
      : undefined;
  const accounts = options.nodeAccounts ? nodeAccounts(common) : undefined;
  const forDownloads = downloadCaches(common);
  const forRetention = retentionCaches(common);
  const all: Array<Pick<Cache<Pod>, "synced" | "alive" | "run">> = [
    ...Object.values(caches),
    ...(webhook?.caches ?? []),
    ...Object.values(accounts ?? {}),
    ...Object.values(forDownloads),
    ...Object.values(forRetention),
    ...workloads.map(({ cache }) => cache),
  ];

  let leading: AbortSignal | undefined;
  const isLeading = () => leading !== undefined && !leading.aborted;
  return {
    register: (registry) =>
      registerGauges(registry, { caches, isLeading, now: options.now ?? (() => new Date()) }),
    ready: () => all.every((cache) => cache.synced) && (webhook?.ready() ?? true),
    alive: () => all.every((cache) => cache.alive),
    async run(signal) {
      const recorder = new EventRecorder({ ...common, controller: "kcr-operator", instance: identity });
      using running = follow(signal);
      const watching = Promise.all([
        // Nothing else waits for these.
        ...[...all, ...(certificates?.caches ?? [])].map((cache) => cache.run(running.signal)),
        webhook?.run(running.signal),
      ]);
      const leadingRun = runAsLeader(
        { ...common, namespace, name: "kcr-operator", identity: `${identity}_${randomUUID()}` },
        async (lead) => {
          const now = options.now ?? (() => new Date());
          const context: Context = { ...options, recorder, caches, now, leading: lead };
          leading = lead;
          countChanges(context);
          traceChanges(context);
          const controllers = [
            ...workloads.map(({ resource, cache }) => workloadController(context, resource, cache)),
            scheduleController(context),
            ...requestControllers(context),
            checkpointController(context),
            placesController(context),
            restoreController(context),
            reportController(context),
            ...strategyControllers(context),
            demandController(context),
            downloadController(context, forDownloads),
            ...retentionControllers(context, { ...forRetention, downloads: forDownloads.downloads }),
            ...(accounts === undefined
              ? []
              : [nodeController({ ...common, nodes: caches.nodes, existing: accounts })]),
            ...(webhook === undefined ? [] : [webhook.rotation(now)]),
            ...(certificates?.controllers(now) ?? []),
          ];
          await Promise.all(controllers.map((controller) => controller.run(lead)));
        },
        running.signal,
      );
      try {
        await Promise.race([leadingRun, watching.then(() => leadingRun)]);
      } finally {
        running.abort(new Error("the operator ends"));
        await Promise.allSettled([watching, leadingRun]);
        await recorder.close();
      }
    },
  };
}
