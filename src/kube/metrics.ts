/** Of a queue; both are its controller's name, as controller-runtime has it. */
const QUEUE = ["name", "controller"];
/** From a microsecond to a quarter of an hour: work in memory, a dump, the time that a queue stood still. */
const QUEUE_BUCKETS = [1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1, 10, 100, 1000];

/**
 * Every metric this library reports, in the naming of controller-runtime and client-go, so that boards and alerts
 * made for those fit. Durations are in seconds.
 */
export const metricDefinitions = {
  rest_client_requests_total: {
    type: "counter",
    labels: ["code", "method", "host"],
    help: 'Requests to the API server by method and status; code is "error" where no answer came',
  },
  rest_client_request_duration_seconds: {
    type: "histogram",
    labels: ["method"],
    help: "Time to an answer's headers",
  },
  reflector_lists_total: {
    type: "counter",
    labels: ["resource"],
    help: "Full lists begun, the first included",
  },
  reflector_watches_total: { type: "counter", labels: ["resource"], help: "Watches opened" },
  reflector_failures_total: {
    type: "counter",
    labels: ["resource"],
    help: "Lists and watches that ended in an error",
  },
  reflector_handler_errors_total: {
    type: "counter",
    labels: ["resource"],
    help: "Changes whose handler threw; each is delivered again",
  },
  workqueue_depth: { type: "gauge", labels: QUEUE, help: "Keys ready to be processed" },
  workqueue_adds_total: { type: "counter", labels: QUEUE, help: "Keys that became ready" },
  workqueue_retries_total: { type: "counter", labels: QUEUE, help: "Keys added with back-off" },
  workqueue_queue_duration_seconds: {
    type: "histogram",
    labels: QUEUE,
    buckets: QUEUE_BUCKETS,
    help: "Time a key waited, ready, for a worker",
  },
  workqueue_work_duration_seconds: {
    type: "histogram",
    labels: QUEUE,
    buckets: QUEUE_BUCKETS,
    help: "Time a worker held a key",
  },
  workqueue_unfinished_work_seconds: {
    type: "gauge",
    labels: QUEUE,
    help: "For how long the keys in workers' hands have been there, added up",
  },
  workqueue_longest_running_processor_seconds: {
    type: "gauge",
    labels: QUEUE,
    help: "For how long a worker has had the key that has been in hand longest",
  },
  controller_runtime_reconcile_total: {
    type: "counter",
    labels: ["controller", "result"],
    help: "Reconciles by result: success, requeue_after, error",
  },
  controller_runtime_reconcile_errors_total: {
    type: "counter",
    labels: ["controller"],
    help: "Reconciles that failed",
  },
  controller_runtime_terminal_reconcile_errors_total: {
    type: "counter",
    labels: ["controller"],
    help: "Those of them that are not tried again before something changes",
  },
  controller_runtime_reconcile_time_seconds: {
    type: "histogram",
    labels: ["controller"],
    help: "Time one reconcile took",
  },
  controller_runtime_active_workers: {
    type: "gauge",
    labels: ["controller"],
    help: "Workers with a key in hand",
  },
  controller_runtime_max_concurrent_reconciles: {
    type: "gauge",
    labels: ["controller"],
    help: "Workers there are",
  },
  controller_runtime_webhook_requests_total: {
    type: "counter",
    labels: ["webhook", "code"],
    help: "Admission reviews by path and HTTP status",
  },
  controller_runtime_webhook_latency_seconds: {
    type: "histogram",
    labels: ["webhook"],
    help: "Time to answer an admission review",
  },
  leader_election_master_status: { type: "gauge", labels: ["name"], help: "1 while this process leads" },
  trace_spans_total: {
    type: "counter",
    labels: ["result"],
    help: "Spans sent to the collector of traces: exported, or dropped because it was away or too slow",
  },
  events_written_total: { type: "counter", labels: [], help: "Kubernetes Events written" },
  events_lost_total: {
    type: "counter",
    labels: ["reason"],
    help: "Kubernetes Events not written: limited, full or failed",
  },
} as const satisfies Record<string, MetricDefinition>;

/** How one metric is declared to a registry. */
export interface MetricDefinition {
  type: "counter" | "gauge" | "histogram";
  labels: readonly string[];
  /** Upper bounds of a histogram's buckets; prom-client's own unless said. */
  buckets?: readonly number[];
  help: string;
}

export type MetricName = keyof typeof metricDefinitions;
export type Labels = Record<string, string>;

/** Where the numbers go. A program wires this to its registry by looping over {@link metricDefinitions}. */
export interface Metrics<Name extends string = MetricName> {
  /** Adds `by` (1) to a counter. */
  increment(name: Name, labels: Labels, by?: number): void;
  /** Sets a gauge. */
  set(name: Name, labels: Labels, value: number): void;
  /** Has a gauge worked out by `read` whenever it is asked for, from now on; NaN where that throws. */
  read(name: Name, labels: Labels, read: () => number): void;
  /** Adds one observation to a histogram. */
  observe(name: Name, labels: Labels, value: number): void;
}

/** Metrics that go nowhere. */
export const noMetrics: Metrics<string> = { increment() {}, set() {}, read() {}, observe() {} };
