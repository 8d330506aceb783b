import http from "node:http";
import https from "node:https";
import type { Socket } from "node:net";
import type { KubeConfig } from "@kubernetes/client-node";
import { ApiError, ConnectionError, type Status } from "./errors.ts";
import { type Metrics, noMetrics } from "./metrics.ts";
import { orAborted } from "./signals.ts";

/** A connection that the server has changed over to another protocol, and what came of that already. */
export interface Upgraded {
  socket: Socket;
  head: Buffer;
  headers: http.IncomingHttpHeaders;
}

/** One HTTP request to the API server. */
export interface HttpRequest {
  method: string;
  /** Path below the server's address, escaped, with query. */
  path: string;
  headers?: Record<string, string>;
  body?: string;
  signal: AbortSignal;
}

/**
 * HTTP/1.1 to the API server, with what the KubeConfig says of TLS, proxies and credentials.
 *
 * Every connection is made with certificates as they are on disk at that moment, and the agent keeps connections of
 * different certificates apart, so that a rotated CA or client certificate is used from the next connection on. After
 * a 401 or a failed TLS handshake the configuration is loaded anew and the request sent once more: neither had any
 * effect.
 */
export class Transport {
  readonly #load: () => KubeConfig;
  readonly #userAgent: string;
  readonly #metrics: Metrics;
  readonly #agents = { http: new http.Agent(agentOptions), https: new https.Agent(agentOptions) };
  #config: KubeConfig;

  constructor(options: { load: () => KubeConfig; userAgent: string; metrics?: Metrics }) {
    this.#load = options.load;
    this.#userAgent = options.userAgent;
    this.#metrics = options.metrics ?? noMetrics;
    this.#config = options.load();
  }

  /** The server's address and the namespace of the current context. */
  get target(): { server: string; namespace: string | undefined } {
    return target(this.#config);
  }

  /**
   * Sends a request and gives the answer's headers with its body still unread, if its status is 2xx.
   *
   * Errors: {@link ApiError} for any other status, {@link ConnectionError} when no answer came, the signal's reason
   * when it aborted.
   */
  async send(request: HttpRequest): Promise<http.IncomingMessage> {
    return await this.#withCredentials(() => this.#attempt(request));
  }

  /**
   * Asks for another protocol, by the headers that are given; the connection is the caller's then. The signal counts
   * until it is made. Errors: as those of {@link send}.
   */
  async upgrade(request: HttpRequest): Promise<Upgraded> {
    return await this.#withCredentials(() => this.#attemptUpgrade(request));
  }

  /** A credential that was renewed on disk is used at once: what was refused for the old one had no effect. */
  async #withCredentials<T>(attempt: () => Promise<T>): Promise<T> {
    const used = this.#config;
    try {
      return await attempt();
    } catch (error) {
      if (!wasRefusedForCredentials(error)) throw error;
      if (this.#config === used) this.#config = this.#load();
      return await attempt();
    }
  }

  /** Closes idle connections; those in use end with their requests. */
  close(): void {
    this.#agents.http.destroy();
    this.#agents.https.destroy();
  }

  async #attempt(request: HttpRequest): Promise<http.IncomingMessage> {
    const what = `${request.method} ${request.path}`;
    const started = performance.now();
    let code = "error";
    try {
      const answer = await this.#exchange(request);
      code = String(answer.statusCode);
      this.#metrics.observe(
        "rest_client_request_duration_seconds",
        { method: request.method },
        since(started),
      );
      if (answer.statusCode! >= 200 && answer.statusCode! < 300) return answer;
      throw await errorOf(what, answer);
    } catch (error) {
      if (request.signal.aborted) throw request.signal.reason;
      throw error instanceof ApiError ? error : new ConnectionError(what, error);
    } finally {
      const host = hostOf(this.#config);
      this.#metrics.increment("rest_client_requests_total", { code, method: request.method, host });
    }
  }

  async #attemptUpgrade(request: HttpRequest): Promise<Upgraded> {
    const what = `${request.method} ${request.path}`;
    const { secure, options } = await this.#optionsOf(request).catch((error: unknown) => {
      request.signal.throwIfAborted();
      throw new ConnectionError(what, error);
    });
    // A connection of its own, which no other request has used or will; through the proxy, if there is one.
    const isOwn = options.agent === this.#agents.https || options.agent === this.#agents.http;
    const asked = (secure ? https : http).request({ ...options, agent: isOwn ? false : options.agent });
    const { promise, resolve, reject } = Promise.withResolvers<Upgraded>();
    asked.on("upgrade", ({ headers }, socket, head) => resolve({ socket: socket as Socket, head, headers }));
    asked.on("response", (answer) => errorOf(what, answer).then(reject, reject));
    asked.on("error", (error) => {
      reject(request.signal.aborted ? request.signal.reason : new ConnectionError(what, error));
    });
    asked.end();
    return await promise;
  }

  async #exchange(request: HttpRequest): Promise<http.IncomingMessage> {
    const { secure, options } = await this.#optionsOf(request);
    return new Promise((resolve, reject) => {
      const asked = (secure ? https : http).request(options, resolve);
      asked.on("error", reject);
      asked.end(request.body);
    });
  }

  async #optionsOf({
    method,
    path,
    headers,
    body,
    signal,
  }: HttpRequest): Promise<{ secure: boolean; options: https.RequestOptions }> {
    const url = new URL(target(this.#config).server);
    const secure = url.protocol === "https:";
    const fromConfig: https.RequestOptions = {};
    // May run a plugin that asks for credentials, and that may hang.
    await orAborted(this.#config.applyToHTTPSOptions(fromConfig), signal);
    // The config's own agent keeps the certificates it was made with; it is of use for proxies only.
    const agent = this.#config.getCurrentCluster()?.proxyUrl
      ? fromConfig.agent
      : this.#agents[secure ? "https" : "http"];
    const options: https.RequestOptions = {
      ...fromConfig,
      agent,
      method,
      host: url.hostname.replace(/^\[|\]$/g, ""),
      port: url.port || (secure ? 443 : 80),
      path: url.pathname.replace(/\/$/, "") + path,
      headers: {
        ...fromConfig.headers,
        accept: "application/json",
        "user-agent": this.#userAgent,
        ...headers,
        ...(body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) }),
      },
      signal,
    };
    return { secure, options };
  }
}

/** `timeout` closes a connection after a minute of silence only while it is idle: the agent ignores it in use. */
const agentOptions: http.AgentOptions = {
  keepAlive: true,
  keepAliveMsecs: 30_000,
  maxFreeSockets: 16,
  timeout: 60_000,
};

const since = (started: number) => (performance.now() - started) / 1000;

function target(config: KubeConfig): { server: string; namespace: string | undefined } {
  const cluster = config.getCurrentCluster();
  if (!cluster)
    throw new Error(
      `the kubeconfig's current context ${JSON.stringify(config.currentContext)} names no cluster`,
    );
  return { server: cluster.server, namespace: config.getContextObject(config.currentContext)?.namespace };
}

/** Of the server's address, with its port. */
const hostOf = (config: KubeConfig): string =>
  URL.parse(config.getCurrentCluster()?.server ?? "")?.host ?? "";

function wasRefusedForCredentials(error: unknown): boolean {
  if (error instanceof ApiError) return error.status === 401;
  if (!(error instanceof ConnectionError) || !(error.cause instanceof Error)) return false;
  const { code = "" } = error.cause as NodeJS.ErrnoException;
  return /^(ERR_TLS_|ERR_SSL_|CERT_|SELF_SIGNED_|DEPTH_ZERO_|UNABLE_TO_)/.test(code);
}

/** Reads a whole body. Errors: a body cut short is an error. */
export async function readBody(answer: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

async function errorOf(what: string, answer: http.IncomingMessage): Promise<ApiError> {
  const body = await readBody(answer);
  const code = answer.statusCode!;
  const retryAfterSeconds = retryAfter(answer.headers["retry-after"]);
  const status = parseStatus(body);
  return new ApiError(what, {
    status: code,
    reason: status?.reason,
    message: status ? status.message : body.trim().slice(0, 500) || answer.statusMessage,
    details: status?.details,
    retryAfterSeconds,
  });
}

function parseStatus(body: string): Status | undefined {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === "object" && parsed !== null && (parsed as Status).kind === "Status")
      return parsed as Status;
  } catch {
    // Not the API server's own words: whoever answered is quoted as text.
  }
  return undefined;
}

/** Retry-After as seconds; the API server sends a number, a proxy in between perhaps a date. */
export function retryAfter(header: string | undefined, now = Date.now()): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d+$/.test(header)) return Number(header);
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, Math.ceil((date - now) / 1000));
}
