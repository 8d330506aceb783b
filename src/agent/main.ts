import { pino } from "pino";
import { z } from "zod";
import { labelName, objectName } from "../api/common.ts";
import { readSettings } from "../api/settings.ts";
import { Client } from "../kube/client.ts";
import { serveHealth } from "../kube/health.ts";
import { otlpFromEnvironment } from "../kube/otlp.ts";
import { createMetrics } from "../kube/prometheus.ts";
import { stopWhenTold } from "../kube/signals.ts";
import { Layout } from "../store/layout.ts";
import { createAgent } from "./agent.ts";
import { agentMetricDefinitions } from "./metrics.ts";
import { scrub } from "./scrub.ts";
import { LocalStore } from "./store/store.ts";
import { NodeToken } from "./token/token.ts";

const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

const environment = z
  .object({
    /** The node whose agent this is, and the address of its kubelet. */
    NODE_NAME: objectName,
    HOST_IP: z.union([z.ipv4(), z.ipv6()]),
    /** The agent's own pod. */
    POD_NAME: objectName.optional(),
    POD_NAMESPACE: labelName.optional(),
    KCR_CONFIG: z.string().default("/etc/kcr/config.yaml"),
    KCR_LOG_LEVEL: z.string().default("info"),
    KCR_HEALTH_PORT: z.coerce.number().default(8081),
    /** Where agents of other nodes are answered. */
    KCR_TRANSFER_PORT: z.coerce.number().default(8444),
  })
  .parse(process.env);

const { NODE_NAME: node, POD_NAME: pod, POD_NAMESPACE: namespace } = environment;
const log = pino({ base: { program: "agent", node }, level: environment.KCR_LOG_LEVEL });
const settings = readSettings(environment.KCR_CONFIG);
const { kubelet } = settings;

const stop = stopWhenTold(log);

const [command = "run"] = process.argv.slice(2);
switch (command) {
  case "run":
    await run();
    break;
  case "scrub":
    await runScrub();
    break;
  default:
    console.error(`agent: no command ${JSON.stringify(command)}; there are run and scrub`);
    process.exitCode = 2;
}

async function run(): Promise<void> {
  if (kubelet.insecureSkipVerify) log.warn({}, "the kubelet's certificate is not verified");

  const { registry, metrics } = createMetrics(agentMetricDefinitions);
  const client = Client.fromConfig({ userAgent: "kcr-agent", metrics });
  const tracer = otlpFromEnvironment(process.env, { service: "kcr-agent", log, metrics });
  const now = () => new Date();
  const agent = createAgent({
    node,
    client,
    settings,
    kubelet: {
      host: environment.HOST_IP,
      port: kubelet.port,
      caFile: kubelet.caFile ?? `${SERVICE_ACCOUNT}/ca.crt`,
      insecureSkipVerify: kubelet.insecureSkipVerify,
      token: new NodeToken({ client, node, now }),
    },
    transfer: { listen: { port: environment.KCR_TRANSFER_PORT } },
    self: pod !== undefined && namespace !== undefined ? { pod, namespace } : undefined,
    log,
    metrics,
    tracer,
    now,
  });
  const health = await serveHealth({
    port: environment.KCR_HEALTH_PORT,
    ready: () => agent.ready(),
    alive: () => agent.alive(),
    metrics: registry,
    log,
  });
  try {
    await agent.run(stop.signal);
    log.info({}, "stopped");
  } catch (error) {
    log.error({ err: error }, "ended by an error");
    process.exitCode = 1;
  } finally {
    stop.abort();
    await tracer?.[Symbol.asyncDispose]();
    client.close();
    health.close();
  }
}

/** Reads all copies of the node beside the agent that runs, and prints what it has found. */
async function runScrub(): Promise<void> {
  const found = await scrub(new LocalStore(new Layout(settings.local.directory)), stop.signal);
  console.log(JSON.stringify(found));
}
