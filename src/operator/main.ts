import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { pino } from "pino";
import { checkpoints, requests, schedules } from "../api/kinds.ts";
import { SCHEDULE_ANNOTATION } from "../api/labels.ts";
import { readSettings } from "../api/settings.ts";
import { Cache } from "../kube/cache.ts";
import { Client } from "../kube/client.ts";
import { EventRecorder } from "../kube/events.ts";
import { runAsLeader } from "../kube/leader.ts";
import { nodes, pods } from "../kube/resources.ts";
import { credentialsFor } from "../oci/credentials.ts";
import { RegistryClient } from "../oci/registry.ts";
import { checkpointController } from "./checkpoint/controller.ts";
import {
  BY_NAMESPACE,
  BY_NODE,
  BY_POD_UID,
  BY_SCHEDULE,
  byNamespace,
  type Context,
  trimNode,
  trimPod,
} from "./context.ts";
import { serveHealth } from "./health.ts";
import { requestController } from "./request/controller.ts";
import { restoreController } from "./restore/controller.ts";
import { scheduleController } from "./schedule/controller.ts";
import { workloadController } from "./workload/controller.ts";
import { trimWorkload, workloadKinds } from "./workload/kinds.ts";

const log = pino({ base: { program: "operator" }, level: process.env["KCR_LOG_LEVEL"] ?? "info" });
const settings = readSettings(process.env["KCR_CONFIG"] ?? "/etc/kcr/config.yaml");
const namespace = process.env["POD_NAMESPACE"] ?? "kcr-system";
const identity = process.env["POD_NAME"] ?? hostname();

const stop = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.once(signal, () => {
    log.info({ signal }, "stopping");
    stop.abort();
  });
}

const client = Client.fromConfig({ userAgent: "kcr-operator" });
const { push, plainHttp, caFile, credentialsFile } = settings.registry;
const registry = new RegistryClient({
  address: push,
  plainHttp,
  ca: caFile === undefined ? undefined : readFileSync(caFile, "utf8"),
  credentials:
    credentialsFile === undefined ? undefined : credentialsFor(readFileSync(credentialsFile, "utf8"), push),
  userAgent: "kcr-operator",
});

const caches: Context["caches"] = {
  schedules: new Cache({ client, resource: schedules, log, indexes: { [BY_NAMESPACE]: byNamespace } }),
  requests: new Cache({ client, resource: requests, log, indexes: { [BY_NAMESPACE]: byNamespace } }),
  checkpoints: new Cache({
    client,
    resource: checkpoints,
    log,
    indexes: {
      [BY_NAMESPACE]: byNamespace,
      [BY_NODE]: (c) => [c.spec.nodeName],
      [BY_POD_UID]: (c) => (c.status?.lineage === undefined ? [] : [c.status.lineage.podUID]),
      [BY_SCHEDULE]: (c) =>
        c.spec.checkpointScheduleRef === undefined
          ? []
          : [`${c.metadata.namespace}/${c.spec.checkpointScheduleRef.name}`],
    },
  }),
  pods: new Cache({ client, resource: pods, log, transform: trimPod, indexes: { [BY_NAMESPACE]: byNamespace } }),
  nodes: new Cache({ client, resource: nodes, log, transform: trimNode }),
};
const workloads = workloadKinds.map((resource) => ({
  resource,
  cache: new Cache({ client, resource, log, transform: (w) => trimWorkload(w, SCHEDULE_ANNOTATION) }),
}));
const allCaches = [...Object.values(caches), ...workloads.map(({ cache }) => cache)];

const recorder = new EventRecorder({ client, controller: "kcr-operator", instance: identity, log });
const context: Context = { client, namespace, settings, registry, recorder, log, now: () => new Date(), caches };

const health = await serveHealth({
  port: Number(process.env["KCR_HEALTH_PORT"] ?? 8081),
  ready: () => allCaches.every((cache) => cache.synced),
});

// Both replicas keep their caches warm; only the leader acts.
const watching = Promise.all(allCaches.map((cache) => cache.run(stop.signal)));
const leading = runAsLeader(
  { client, namespace, name: "kcr-operator", identity: `${identity}_${randomUUID()}`, log },
  async (signal) => {
    const controllers = [
      ...workloads.map(({ resource, cache }) => workloadController(context, resource, cache)),
      scheduleController(context),
      requestController(context),
      checkpointController(context),
      restoreController(context),
    ];
    await Promise.all(controllers.map((controller) => controller.run(signal)));
  },
  stop.signal,
);

try {
  await Promise.race([leading, watching.then(() => leading)]);
  log.info({}, "stopped");
} catch (error) {
  log.error({ err: error }, "ended by an error");
  process.exitCode = 1;
} finally {
  stop.abort();
  await recorder.close();
  health.close();
}
