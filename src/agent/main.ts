import { pino } from "pino";
import { z } from "zod";
import { objectName } from "../api/common.ts";
import { readSettings } from "../api/settings.ts";
import { Client } from "../kube/client.ts";
import { serveHealth } from "../kube/health.ts";
import { createMetrics } from "../kube/prometheus.ts";
import { createAgent } from "./agent.ts";

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
const agent = createAgent({
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
  log,
  metrics,
  now: () => new Date(),
});
const health = await serveHealth({
  port: environment.KCR_HEALTH_PORT,
  ready: () => agent.ready(),
  metrics: registry,
});
try {
  await agent.run(stop.signal);
  log.info({}, "stopped");
} catch (error) {
  log.error({ err: error }, "ended by an error");
  process.exitCode = 1;
} finally {
  stop.abort();
  client.close();
  health.close();
}
