import { hostname } from "node:os";
import { pino } from "pino";
import { readSettings } from "../api/settings.ts";
import { Client } from "../kube/client.ts";
import { serveHealth } from "../kube/health.ts";
import { otlpFromEnvironment } from "../kube/otlp.ts";
import { createMetrics } from "../kube/prometheus.ts";
import { stopWhenTold } from "../kube/signals.ts";
import { USER_AGENT } from "./context.ts";
import { watchKinds } from "./kinds.ts";
import { operatorMetricDefinitions } from "./observe/metrics.ts";
import { createOperator } from "./operator.ts";

const log = pino({ base: { program: "operator" }, level: process.env["KCR_LOG_LEVEL"] ?? "info" });
const settings = readSettings(process.env["KCR_CONFIG"] ?? "/etc/kcr/config.yaml");

const stop = stopWhenTold(log);

const { registry, metrics } = createMetrics(operatorMetricDefinitions);
const client = Client.fromConfig({ userAgent: USER_AGENT, metrics });
const tracer = otlpFromEnvironment(process.env, { service: "kcr-operator", log, metrics });
const operator = createOperator({
  client,
  namespace: process.env["POD_NAMESPACE"] ?? "kcr-system",
  identity: process.env["POD_NAME"] ?? hostname(),
  settings,
  log,
  metrics,
  tracer,
  nodeAccounts: true,
  transferCertificates: true,
  webhook: { port: Number(process.env["KCR_WEBHOOK_PORT"] ?? 8443) },
});
operator.register(registry);
const health = await serveHealth({
  port: Number(process.env["KCR_HEALTH_PORT"] ?? 8081),
  ready: operator.ready,
  alive: operator.alive,
  metrics: registry,
  log,
});
// It ends with the reason of the signal, and with no other.
watchKinds(client, log, stop.signal).catch(() => {});
try {
  await operator.run(stop.signal);
  log.info({}, "stopped");
} catch (error) {
  // A replica that lost its lease must not go on: the process ends and comes back as a candidate.
  log.error({ err: error }, "ended by an error");
  process.exitCode = 1;
} finally {
  await tracer?.[Symbol.asyncDispose]();
  client.close();
  health.close();
}
