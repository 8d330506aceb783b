import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { pino } from "pino";
import { readSettings } from "../api/settings.ts";
import { Client } from "../kube/client.ts";
import { serveHealth } from "../kube/health.ts";
import { createMetrics } from "../kube/prometheus.ts";
import { credentialsFor } from "../oci/credentials.ts";
import { RegistryClient } from "../oci/registry.ts";
import { createOperator } from "./operator.ts";

const log = pino({ base: { program: "operator" }, level: process.env["KCR_LOG_LEVEL"] ?? "info" });
const settings = readSettings(process.env["KCR_CONFIG"] ?? "/etc/kcr/config.yaml");

const stop = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.once(signal, () => {
    log.info({ signal }, "stopping");
    stop.abort();
  });
}

const { registry: measured, metrics } = createMetrics();
const client = Client.fromConfig({ userAgent: "kcr-operator", metrics });
const { push, plainHttp, caFile, credentialsFile } = settings.registry;
await using registry = new RegistryClient({
  address: push,
  plainHttp,
  ca: caFile === undefined ? undefined : readFileSync(caFile, "utf8"),
  credentials:
    credentialsFile === undefined ? undefined : credentialsFor(readFileSync(credentialsFile, "utf8"), push),
  userAgent: "kcr-operator",
});
const operator = createOperator({
  client,
  namespace: process.env["POD_NAMESPACE"] ?? "kcr-system",
  identity: process.env["POD_NAME"] ?? hostname(),
  settings,
  registry,
  log,
  metrics,
});
const health = await serveHealth({
  port: Number(process.env["KCR_HEALTH_PORT"] ?? 8081),
  ready: operator.ready,
  metrics: measured,
});
try {
  await operator.run(stop.signal);
  log.info({}, "stopped");
} catch (error) {
  // A replica that lost its lease must not go on: the process ends and comes back as a candidate.
  log.error({ err: error }, "ended by an error");
  process.exitCode = 1;
} finally {
  client.close();
  health.close();
}
