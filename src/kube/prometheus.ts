import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import {
  type Labels,
  type MetricDefinition,
  type MetricName,
  type Metrics,
  metricDefinitions,
} from "./metrics.ts";

/** A registry with the metrics of the process, of the controllers and the program's own, and the way to report them. */
export function createMetrics<More extends Record<string, MetricDefinition> = Record<never, never>>(
  more?: More,
): { registry: Registry; metrics: Metrics<MetricName | Extract<keyof More, string>> } {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const counters = new Map<string, Counter>();
  const gauges = new Map<string, Gauge>();
  const histograms = new Map<string, Histogram>();
  /** By gauge, then by its labels. */
  const reads = new Map<string, Map<string, { labels: Labels; read: () => number }>>();
  const readAll = (name: string) => {
    for (const { labels, read } of reads.get(name)?.values() ?? []) {
      gauges.get(name)?.set(labels, readOr(read, Number.NaN));
    }
  };
  for (const [name, { type, labels, help, buckets }] of Object.entries<MetricDefinition>({
    ...metricDefinitions,
    ...more,
  })) {
    const options = { name, help, labelNames: [...labels], registers: [registry] };
    if (type === "counter") counters.set(name, new Counter(options));
    else if (type === "gauge") gauges.set(name, new Gauge({ ...options, collect: () => readAll(name) }));
    else histograms.set(name, new Histogram({ ...options, ...(buckets && { buckets: [...buckets] }) }));
  }
  const metrics: Metrics<string> = {
    increment: (name, labels, by) => counters.get(name)?.inc(labels, by),
    set: (name, labels, value) => gauges.get(name)?.set(labels, value),
    read: (name, labels, read) => {
      const ofGauge = reads.getOrInsertComputed(name, () => new Map());
      ofGauge.set(JSON.stringify(labels), { labels, read });
    },
    observe: (name, labels, value) => histograms.get(name)?.observe(labels, value),
  };
  return { registry, metrics };
}

/** One gauge that cannot be read must not hide all others. */
function readOr(read: () => number, otherwise: number): number {
  try {
    return read();
  } catch {
    return otherwise;
  }
}
