import { describe, expect, it, onTestFinished } from "vitest";
import { startCollector } from "../../test/support/collector.ts";
import { waitFor } from "../../test/support/wait-for.ts";
import { silent } from "./log.ts";
import { otlpFromEnvironment, type Span } from "./otlp.ts";
import { createMetrics } from "./prometheus.ts";

const span = (n: number, more: Partial<Span> = {}): Span => ({
  traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
  spanId: n.toString(16).padStart(16, "0"),
  name: `span-${n}`,
  start: new Date(1_767_268_800_123),
  end: new Date(1_767_268_801_123),
  ...more,
});

async function scene(env: Record<string, string> = {}) {
  const collector = await startCollector();
  onTestFinished(() => collector[Symbol.asyncDispose]());
  const { registry, metrics } = createMetrics();
  const given = { OTEL_EXPORTER_OTLP_ENDPOINT: `${collector.url}/`, ...env };
  const exporter = otlpFromEnvironment(given, { service: "test", log: silent, metrics });
  const count = async (result: string) => {
    const { values } = (await registry.getSingleMetric("trace_spans_total")?.get()) ?? {};
    return values?.find(({ labels }) => labels["result"] === result)?.value ?? 0;
  };
  return { collector, exporter: exporter!, count };
}

describe("spans go to the collector", () => {
  it("together, with whose they are, ids in hexadecimal and times in nanoseconds", async () => {
    const { collector, exporter } = await scene({
      OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer%20secret",
      OTEL_RESOURCE_ATTRIBUTES: "deployment.environment=test",
    });
    exporter.write(span(1, { attributes: { size: 1.5, name: "x", none: undefined } }));
    exporter.write(span(2, { parentSpanId: span(1).spanId, error: "DumpFailed" }));
    const spans = await waitFor("the spans", () => collector.spans.length === 2 && collector.spans);
    expect(collector.requests).toHaveLength(1);
    expect(collector.requests[0]?.path).toBe("/v1/traces");
    expect(collector.requests[0]?.headers["authorization"]).toBe("Bearer secret");
    expect(spans).toMatchObject([
      {
        resource: { "service.name": "test", "deployment.environment": "test" },
        name: "span-1",
        spanId: "0000000000000001",
        startTimeUnixNano: "1767268800123000000",
        endTimeUnixNano: "1767268801123000000",
        attributes: { size: 1.5, name: "x" },
        status: {},
      },
      { parentSpanId: "0000000000000001", status: { code: 2, message: "DumpFailed" } },
    ]);
    expect(spans[0]?.parentSpanId).toBeUndefined();
  });

  it("once more after an answer that passes, and never twice after one that does not", async () => {
    const { collector, exporter, count } = await scene();
    collector.answers.push(503);
    exporter.write(span(1));
    await waitFor("the second try", () => collector.spans.length === 1);
    collector.answers.push(400);
    exporter.write(span(2));
    await waitFor("it to be dropped", async () => (await count("dropped")) === 1);
    expect(await count("exported")).toBe(1);
    expect(collector.requests).toHaveLength(3);
  });

  it("at the end of the program too, and none is waited for long", async () => {
    const { collector, exporter, count } = await scene();
    for (let n = 1; n <= 3000; n++) exporter.write(span(n));
    expect(await count("dropped")).toBe(3000 - 2048);
    collector.stall = true;
    exporter.write(span(1));
    const begun = performance.now();
    await exporter[Symbol.asyncDispose]();
    expect(performance.now() - begun).toBeLessThan(4000);
    expect(await count("dropped")).toBe(3001);
    const { exporter: quick, collector: listening } = await scene();
    quick.write(span(1));
    await quick[Symbol.asyncDispose]();
    expect(listening.spans).toHaveLength(1);
  });
});

it.each([
  ["no endpoint is named", {}, false],
  ["the SDK is off", { OTEL_EXPORTER_OTLP_ENDPOINT: "http://x", OTEL_SDK_DISABLED: "true" }, false],
  ["no traces are wanted", { OTEL_EXPORTER_OTLP_ENDPOINT: "http://x", OTEL_TRACES_EXPORTER: "none" }, false],
  [
    "another protocol is asked for",
    { OTEL_EXPORTER_OTLP_ENDPOINT: "http://x", OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" },
    false,
  ],
  ["an endpoint is named", { OTEL_EXPORTER_OTLP_ENDPOINT: "http://x" }, true],
  ["one for traces is named", { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://x/t" }, true],
])("where %s", (_, env, isOn) => {
  expect(otlpFromEnvironment(env, { service: "test", log: silent }) !== undefined).toBe(isOn);
});
