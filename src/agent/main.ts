import { pino } from "pino";
import { z } from "zod";
import { objectName } from "../api/common.ts";
import { checkpoints, requests } from "../api/kinds.ts";
import { readSettings } from "../api/settings.ts";
import { Cache } from "../kube/cache.ts";
import { Client } from "../kube/client.ts";
import { EventRecorder } from "../kube/events.ts";
import { Archives } from "./archives.ts";
import type { Context } from "./context.ts";
import { dumpController } from "./dump/controller.ts";
import { serveHealth } from "./health.ts";
import { imageController } from "./image/controller.ts";
import { createMetrics } from "./metrics.ts";

const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

const environment = z
  .object({
    /** The node whose agent this is, and the address of its kubelet. */
    NODE_NAME: objectName,
    HOST_IP: z.union([z.ipv4(), z.ipv6()]),
    KCR_CONFIG: z.string().default("/etc/kcr/config.yaml"),
    KCR_LOG_LEVEL: z.string().default("info"),
    KCR_HEALTH_PORT: z.coerce.number().default(8081),
    /** What the kubelet is shown. */
    KCR_TOKEN_FILE: z.string().default(`${SERVICE_ACCOUNT}/token`),
  })
  .parse(process.env);

const node = environment.NODE_NAME;
const log = pino({ base: { program: "agent", node }, level: environment.KCR_LOG_LEVEL });
const settings = readSettings(environment.KCR_CONFIG);
const { kubelet } = settings;

const stop = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.once(signal, () => {
    log.info({ signal }, "stopping");
    stop.abort();
  });
}
if (kubelet.insecureSkipVerify) log.warn({}, "the kubelet's certificate is not verified");

const { registry, metrics } = createMetrics();
const client = Client.fromConfig({ userAgent: "kcr-agent", metrics });
const caches: Context["caches"] = {
  requests: new Cache({
    client,
    resource: requests,
    fieldSelector: `status.nodeName=${node}`,
    log,
    metrics,
  }),
  checkpoints: new Cache({
    client,
    resource: checkpoints,
    fieldSelector: `spec.nodeName=${node}`,
    log,
    metrics,
  }),
};
const recorder = new EventRecorder({ client, controller: "kcr-agent", instance: node, log, metrics });
const context: Context = {
  node,
  client,
  settings,
  kubelet: {
    host: environment.HOST_IP,
    port: kubelet.port,
    caFile: kubelet.caFile ?? `${SERVICE_ACCOUNT}/ca.crt`,
    insecureSkipVerify: kubelet.insecureSkipVerify,
    tokenFile: environment.KCR_TOKEN_FILE,
  },
  archives: new Archives(kubelet.checkpointDirectory),
  recorder,
  log,
  metrics,
  now: () => new Date(),
  caches,
};

const health = await serveHealth({
  port: environment.KCR_HEALTH_PORT,
  ready: () => Object.values(caches).every((cache) => cache.synced),
  metrics: registry,
});
try {
  await Promise.all([
    ...Object.values(caches).map((cache) => cache.run(stop.signal)),
    // These end when what they have in hand is put down: a dump that is under way is waited for.
    dumpController(context).run(stop.signal),
    imageController(context).run(stop.signal),
  ]);
  log.info({}, "stopped");
} catch (error) {
  log.error({ err: error }, "ended by an error");
  process.exitCode = 1;
} finally {
  stop.abort();
  await recorder.close();
  client.close();
  health.close();
}
