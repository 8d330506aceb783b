import { backoffDelay } from "./backoff.ts";
import type { Logger } from "./log.ts";
import { type Metrics, noMetrics } from "./metrics.ts";
import { delay, follow } from "./signals.ts";

/** Something that took its time and is over. */
export interface Span {
  traceId: string;
  spanId: string;
  parentSpanId?: string | undefined;
  name: string;
  start: Date;
  end: Date;
  attributes?: Readonly<Record<string, string | number | undefined>>;
  /** Why it failed, if it did. */
  error?: string | undefined;
}

/** Where spans go. */
export interface Tracer {
  write(span: Span): void;
}

export interface OtlpOptions {
  /** Where spans are POSTed to. */
  url: string;
  headers: Readonly<Record<string, string>>;
  /** Who tells: `service.name` and more. */
  resource: Readonly<Record<string, string>>;
  /** How long one attempt may take, in milliseconds. */
  timeoutMs: number;
  log: Logger;
  metrics?: Metrics | undefined;
}

/** Spans that wait, at most; those that come then are dropped and counted. */
const MOST_WAITING = 2048;
const MOST_AT_ONCE = 512;
/** How long a span waits for others to go with it, in milliseconds. */
const GATHER_MS = 1000;
const ATTEMPTS = 5;
const backoff = { baseMs: 1000, maxMs: 30_000, jitter: 0.5 };
/** How long the end of the program waits for the last spans, in milliseconds. */
const LAST_MS = 2000;
/** What a collector may be asked again after. Source: OTLP specification, "Retryable Response Codes". */
const RETRYABLE: ReadonlySet<number> = new Set([429, 502, 503, 504]);

/**
 * Sends spans to an OpenTelemetry collector by OTLP over HTTP, as JSON.
 * Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp and opentelemetry-proto, trace/v1/trace.proto.
 *
 * Guarantees: `write` returns at once and never throws; a collector that is slow or away costs spans, which are
 * counted, and nothing else: memory is bounded.
 */
export class OtlpExporter implements Tracer, AsyncDisposable {
  readonly #options: OtlpOptions;
  readonly #metrics: Metrics;
  readonly #waiting: Span[] = [];
  readonly #stop = new AbortController();
  /** Sends until nothing waits. */
  #sending: Promise<void> | undefined;

  constructor(options: OtlpOptions) {
    this.#options = options;
    this.#metrics = options.metrics ?? noMetrics;
  }

  write(span: Span): void {
    if (this.#stop.signal.aborted || this.#waiting.length >= MOST_WAITING) {
      this.#count("dropped", 1);
      return;
    }
    this.#waiting.push(span);
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined;
    });
  }

  /** Sends what waits once more, for two seconds at most. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#sending;
    const left = this.#waiting.splice(0);
    if (left.length > 0) await this.#post(left, AbortSignal.timeout(LAST_MS), 1);
  }

  async #send(): Promise<void> {
    const { signal } = this.#stop;
    while (this.#waiting.length > 0) {
      if (this.#waiting.length < MOST_AT_ONCE) await delay(GATHER_MS, signal).catch(() => {});
      if (signal.aborted) return;
      await this.#post(this.#waiting.splice(0, MOST_AT_ONCE), signal, ATTEMPTS);
    }
  }

  async #post(spans: readonly Span[], signal: AbortSignal, attempts: number): Promise<void> {
    const { url, headers, timeoutMs, log } = this.#options;
    const body = JSON.stringify(encodeSpans(spans, this.#options.resource));
    for (let attempt = 1; ; attempt++) {
      using limit = follow(signal);
      const timer = setTimeout(() => limit.abort(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
      try {
        const response = await fetch(url, {
          method: "POST",
          headers: { ...headers, "content-type": "application/json" },
          body,
          signal: limit.signal,
        });
        await response.body?.cancel();
        if (response.ok) {
          this.#count("exported", spans.length);
          return;
        }
        const error = new Error(`the collector answered ${response.status}`);
        if (!RETRYABLE.has(response.status)) attempt = attempts;
        throw error;
      } catch (error) {
        if (attempt >= attempts || signal.aborted) {
          this.#count("dropped", spans.length);
          log.warn({ url, spans: spans.length, err: error }, "spans could not be sent and are dropped");
          return;
        }
      } finally {
        clearTimeout(timer);
      }
      await delay(backoffDelay(backoff, attempt), signal).catch(() => {});
    }
  }

  #count(result: "exported" | "dropped", by: number): void {
    this.#metrics.increment("trace_spans_total", { result }, by);
  }
}

/** An ExportTraceServiceRequest in the JSON mapping of OTLP: ids in hexadecimal, 64-bit numbers as strings. */
export function encodeSpans(spans: readonly Span[], resource: Readonly<Record<string, string>>): object {
  return {
    resourceSpans: [
      {
        resource: { attributes: encodeAttributes(resource) },
        scopeSpans: [{ scope: { name: "kcr" }, spans: spans.map(encodeSpan) }],
      },
    ],
  };
}

const INTERNAL = 1;
const ERROR = 2;

const encodeSpan = ({ traceId, spanId, parentSpanId, name, start, end, attributes, error }: Span) => ({
  traceId,
  spanId,
  ...(parentSpanId === undefined ? {} : { parentSpanId }),
  name,
  kind: INTERNAL,
  startTimeUnixNano: nanoseconds(start),
  // Clocks of two machines may differ by more than a step took.
  endTimeUnixNano: nanoseconds(end < start ? start : end),
  attributes: encodeAttributes(attributes ?? {}),
  status: error === undefined ? {} : { code: ERROR, message: error },
});

const nanoseconds = (time: Date): string => String(BigInt(time.getTime()) * 1_000_000n);

const encodeAttributes = (attributes: Readonly<Record<string, string | number | undefined>>) =>
  Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ({
      key,
      value: typeof value === "number" ? { doubleValue: value } : { stringValue: value },
    }));

/**
 * An exporter after OpenTelemetry's environment variables; undefined where they name no endpoint, or say that nothing
 * is wanted.
 * Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and
 * https://opentelemetry.io/docs/specs/otel/protocol/exporter/.
 */
export function otlpFromEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  { service, ...more }: { service: string } & Pick<OtlpOptions, "log" | "metrics">,
): OtlpExporter | undefined {
  const of = (name: string) => env[`OTEL_EXPORTER_OTLP_TRACES_${name}`] || env[`OTEL_EXPORTER_OTLP_${name}`];
  const base = env["OTEL_EXPORTER_OTLP_ENDPOINT"];
  const url = env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] || (base && `${base.replace(/\/+$/, "")}/v1/traces`);
  const isOff = env["OTEL_SDK_DISABLED"]?.toLowerCase() === "true" || env["OTEL_TRACES_EXPORTER"] === "none";
  if (!url || isOff) return undefined;
  const protocol = of("PROTOCOL") ?? "http/json";
  if (protocol !== "http/json" || !URL.canParse(url)) {
    more.log.error({ url, protocol }, "traces are off: they go by http/json to an http(s) address only");
    return undefined;
  }
  return new OtlpExporter({
    ...more,
    url,
    headers: parsePairs(of("HEADERS")),
    resource: {
      ...parsePairs(env["OTEL_RESOURCE_ATTRIBUTES"]),
      "service.name": env["OTEL_SERVICE_NAME"] || service,
    },
    timeoutMs: Number(of("TIMEOUT")) || 10_000,
  });
}

/** `key=value,key=value`, values escaped as in a URL. What is no pair is left out. */
function parsePairs(text = ""): Record<string, string> {
  const pairs: Record<string, string> = {};
  for (const pair of text.split(",")) {
    const [, key, value] = /^\s*([^=\s]+)\s*=\s*(.*?)\s*$/.exec(pair) ?? [];
    if (key !== undefined && value !== undefined) pairs[key] = unescaped(value);
  }
  return pairs;
}

function unescaped(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}
