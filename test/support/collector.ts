import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { z } from "zod";

/** A span as a collector understands it, with whose it is. */
export interface ReceivedSpan {
  resource: Record<string, string | number>;
  traceId: string;
  spanId: string;
  parentSpanId?: string | undefined;
  name: string;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: Record<string, string | number>;
  status: { code?: number | undefined; message?: string | undefined };
}

/** A receiver of OTLP over HTTP, JSON, on loopback: it takes what the protocol allows and nothing else. */
export interface Collector extends AsyncDisposable {
  /** As OTEL_EXPORTER_OTLP_ENDPOINT names it. */
  readonly url: string;
  readonly spans: ReceivedSpan[];
  readonly requests: { path: string; headers: IncomingHttpHeaders }[];
  /** Statuses of the next answers; 200 when there are none left. What is not answered with 200 is not taken. */
  readonly answers: number[];
  /** Whether it takes requests and answers none. */
  stall: boolean;
}

const attributes = z.array(
  z.strictObject({
    key: z.string().min(1),
    value: z.union([
      z.strictObject({ stringValue: z.string() }),
      z.strictObject({ doubleValue: z.number() }),
    ]),
  }),
);
const nanoseconds = z.string().regex(/^[1-9]\d{18}$/);
const spanId = z.string().regex(/^(?!0{16})[0-9a-f]{16}$/);
const span = z.strictObject({
  traceId: z.string().regex(/^(?!0{32})[0-9a-f]{32}$/),
  spanId,
  parentSpanId: spanId.optional(),
  name: z.string().min(1),
  kind: z.literal(1),
  startTimeUnixNano: nanoseconds,
  endTimeUnixNano: nanoseconds,
  attributes,
  status: z.strictObject({ code: z.literal(2).optional(), message: z.string().optional() }),
});
/** Source: opentelemetry-proto, collector/trace/v1 and trace/v1, in their JSON mapping. */
const message = z.strictObject({
  resourceSpans: z.array(
    z.strictObject({
      resource: z.strictObject({ attributes }),
      scopeSpans: z.array(
        z.strictObject({ scope: z.strictObject({ name: z.string() }), spans: z.array(span) }),
      ),
    }),
  ),
});

export async function startCollector(): Promise<Collector> {
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request.setEncoding("utf8")) body += chunk;
    self.requests.push({ path: request.url ?? "", headers: request.headers });
    if (self.stall) return;
    const status = self.answers.shift() ?? take(request.headers["content-type"], body);
    response.writeHead(status, { "content-type": "application/json" }).end("{}");
  });
  const take = (type: string | undefined, body: string): number => {
    const parsed = type === "application/json" ? message.safeParse(JSON.parse(body)) : undefined;
    if (parsed?.success !== true) return 400;
    for (const { resource, scopeSpans } of parsed.data.resourceSpans) {
      for (const { kind: _, ...one } of scopeSpans.flatMap(({ spans }) => spans)) {
        self.spans.push({
          ...one,
          attributes: asRecord(one.attributes),
          resource: asRecord(resource.attributes),
        });
      }
    }
    return 200;
  };
  const self = {
    url: "",
    spans: [] as ReceivedSpan[],
    requests: [] as Collector["requests"],
    answers: [] as number[],
    stall: false,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  self.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return self;
}

const asRecord = (list: z.infer<typeof attributes>): Record<string, string | number> =>
  Object.fromEntries(
    list.map(({ key, value }) => [key, "stringValue" in value ? value.stringValue : value.doubleValue]),
  );
