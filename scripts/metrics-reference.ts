import type { Metric, Registry } from "prom-client";
import { agentMetricDefinitions } from "../src/agent/metrics.ts";
import { createMetrics } from "../src/kube/prometheus.ts";
import { registerGauges } from "../src/operator/observe/gauges.ts";
import { operatorMetricDefinitions } from "../src/operator/observe/metrics.ts";

/** One metric as its registry has it. */
export interface ServedMetric {
  name: string;
  type: "counter" | "gauge" | "histogram";
  labels: readonly string[];
  help: string;
  /** The programs that serve it. */
  by: readonly ("operator" | "agent")[];
}

/** Neither webhook nor leader: an agent's registry has these too, with nothing in them. */
const NOT_OF_AGENTS = /^(controller_runtime_webhook|leader_election)_/;
/** What every process of Node's tells of itself; prom-client's names. */
const OF_ITSELF = /^(process|nodejs)_/;

/** The metrics of operator and agent, by name: those of their own registries, and not those of the process. */
export function servedMetrics(): ServedMetric[] {
  const operator = createMetrics(operatorMetricDefinitions).registry;
  // Nothing is collected here: what the caches hold does not matter.
  registerGauges(operator, { caches: {} as never, isLeading: () => false, now: () => new Date() });
  const registries = { operator, agent: createMetrics(agentMetricDefinitions).registry };
  const found = new Map<string, ServedMetric>();
  for (const by of ["operator", "agent"] as const) {
    for (const metric of metricsOf(registries[by])) {
      if (by === "agent" && NOT_OF_AGENTS.test(metric.name)) continue;
      const known = found.get(metric.name);
      found.set(metric.name, { ...metric, by: [...(known?.by ?? []), by] });
    }
  }
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** What prom-client keeps of a metric, of which its types show a part. */
type Kept = Metric & Pick<ServedMetric, "name" | "help" | "type"> & { labelNames: readonly string[] };

function metricsOf(registry: Registry): Omit<ServedMetric, "by">[] {
  return (registry.getMetricsAsArray() as unknown as Kept[])
    .filter(({ name }) => !OF_ITSELF.test(name))
    .map(({ name, type, help, labelNames }) => ({
      name,
      type,
      help,
      // A histogram's own.
      labels: labelNames.filter((label) => label !== "le"),
    }));
}

/** The page docs/reference/metrics.md. */
export function metricsReference(mark: string): string {
  const rows = servedMetrics().map(
    ({ name, type, labels, help, by }) =>
      `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(" ")} | ${by.join(", ")} | ${help} |`,
  );
  return `<!-- ${mark} -->
# Metrics

Served at \`/metrics\` of port 8081 ([how](../guides/monitoring.md)), besides those of the process (\`process_*\`, \`nodejs_*\`).
Durations are in seconds. A histogram has \`_bucket\`, \`_sum\` and \`_count\`.

| metric | type | labels | served by | what |
|---|---|---|---|---|
${rows.join("\n")}
`;
}
