import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import type { KeyPair } from "./certificates.ts";
import type { JsonPatch } from "./client.ts";
import type { Logger } from "./log.ts";
import { type Metrics, noMetrics } from "./metrics.ts";
import type { KubeObject } from "./resources.ts";
import { after, follow } from "./signals.ts";

/** What the API server asks: `request` of an AdmissionReview of admission.k8s.io/v1. */
export interface AdmissionRequest {
  uid: string;
  operation: string;
  namespace?: string;
  name?: string;
  dryRun?: boolean;
  userInfo?: { username?: string; groups?: string[] };
  object?: KubeObject;
}

/** What a webhook that refuses nothing answers: how the object is to be changed, and what its maker is to know. */
export interface AdmissionAnswer {
  patch?: JsonPatch;
  warnings?: string[];
}

export interface AdmissionOptions {
  /** 0: any that is free. */
  port: number;
  host?: string;
  /** What answers at each path. */
  paths: Record<string, (request: AdmissionRequest, signal: AbortSignal) => Promise<AdmissionAnswer>>;
  /** How long an answer may take until the object is let through as it is, in milliseconds. */
  timeoutMs: number;
  log: Logger;
  metrics?: Metrics;
}

export interface AdmissionServer {
  readonly port: number;
  /** Whether there is a certificate to answer with. */
  readonly serving: boolean;
  /** The certificate of connections from now on. Errors: node:tls's, for a pair that does not fit together. */
  setCertificate(pair: KeyPair): void;
  close(): void;
}

/** An object may have 3 MiB at the API server; a review carries it once on creation. */
const MAX_BODY = 4 * 1024 * 1024;
/** More reviews at once than this are let through unread: somebody asks who is not the API server. */
const MAX_AT_ONCE = 256;
const REVIEW = { apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview" };

/**
 * Serves mutating admission webhooks over HTTPS.
 *
 * Guarantees: an object is never refused: where deciding fails or takes too long, it is let through as it is. What is
 * no AdmissionReview is answered with an HTTP error, which with failurePolicy Ignore means the same.
 *
 * Source: Kubernetes, "Dynamic Admission Control", webhook request and response.
 */
export function serveAdmission(options: AdmissionOptions): Promise<AdmissionServer> {
  const { paths, timeoutMs, log, metrics = noMetrics } = options;
  let serving = false;
  let busy = 0;

  const answer = async (path: string, request: AdmissionRequest): Promise<AdmissionAnswer> => {
    if (busy >= MAX_AT_ONCE) return {};
    busy++;
    using limit = follow(undefined);
    const cancel = after(timeoutMs, () => limit.abort(new Error(`no decision within ${timeoutMs} ms`)));
    try {
      return await paths[path]!(request, limit.signal);
    } catch (err) {
      const { uid, namespace, name } = request;
      log.warn({ path, uid, namespace, name, err }, "no decision; the object is let through as it is");
      return {};
    } finally {
      cancel();
      busy--;
    }
  };

  const handle = async (message: IncomingMessage, response: ServerResponse): Promise<number> => {
    const send = (status: number, body: object | string): number => {
      const json = typeof body === "object";
      // Whoever sent what could not be read may be sending still.
      if (status !== 200) response.setHeader("connection", "close");
      response
        .writeHead(status, { "content-type": json ? "application/json" : "text/plain" })
        .end(json ? JSON.stringify(body) : `${body}\n`);
      return status;
    };
    const path = pathOf(message);
    if (!Object.hasOwn(paths, path)) return send(404, "not found");
    if (message.method !== "POST") return send(405, "POST only");
    const body = await readBody(message);
    if (body === undefined) return send(413, `more than ${MAX_BODY} bytes`);
    const request = requestOf(body);
    if (request === undefined) return send(400, "no AdmissionReview of admission.k8s.io/v1");
    const { patch, warnings } = await answer(path, request);
    return send(200, {
      ...REVIEW,
      response: {
        uid: request.uid,
        allowed: true,
        ...(warnings?.length ? { warnings } : {}),
        ...(patch?.length
          ? { patchType: "JSONPatch", patch: Buffer.from(JSON.stringify(patch)).toString("base64") }
          : {}),
      },
    });
  };

  const server: Server = createServer((message, response) => {
    const started = performance.now();
    const path = pathOf(message);
    const webhook = Object.hasOwn(paths, path) ? path : "";
    handle(message, response).then(
      (status) => {
        metrics.increment("controller_runtime_webhook_requests_total", { webhook, code: String(status) });
        const seconds = (performance.now() - started) / 1000;
        metrics.observe("controller_runtime_webhook_latency_seconds", { webhook }, seconds);
      },
      (err: unknown) => {
        // The asker went away in the middle of it.
        log.info({ err }, "a review was not answered");
        response.destroy();
      },
    );
  });
  server.requestTimeout = 10_000;
  server.headersTimeout = 5_000;
  server.keepAliveTimeout = 120_000;

  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, () =>
      resolve({
        port: (server.address() as AddressInfo).port,
        get serving() {
          return serving;
        },
        setCertificate({ cert, key }) {
          server.setSecureContext({ cert, key });
          serving = true;
        },
        close() {
          server.close();
          server.closeIdleConnections();
        },
      }),
    );
  });
}

const pathOf = ({ url = "" }: IncomingMessage): string => url.split("?")[0] ?? "";

/** The whole body; undefined when it is too large. */
async function readBody(message: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  // Not destroyed on the way out: the asker is to read the answer.
  for await (const chunk of message.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Who asks need not be the API server: all that is read later is checked here to be of its type. */
function requestOf(body: Buffer): AdmissionRequest | undefined {
  let review: { apiVersion?: unknown; request?: Partial<Record<keyof AdmissionRequest, unknown>> };
  try {
    review = JSON.parse(body.toString());
  } catch {
    return undefined;
  }
  const { request } = review ?? {};
  if (review?.apiVersion !== REVIEW.apiVersion || typeof request !== "object" || request === null)
    return undefined;
  const { uid, operation, namespace, name, dryRun, userInfo, object } = request;
  const text = (value: unknown) => (typeof value === "string" ? value : undefined);
  if (typeof uid !== "string" || typeof operation !== "string") return undefined;
  return {
    uid,
    operation,
    namespace: text(namespace),
    name: text(name),
    dryRun: dryRun === true,
    userInfo: { username: text((userInfo as { username?: unknown } | null | undefined)?.username) },
    object: typeof object === "object" && object !== null ? (object as KubeObject) : undefined,
  };
}
