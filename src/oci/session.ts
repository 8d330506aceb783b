import { Authorizer, type Scope } from "./auth.ts";
import type { Credentials } from "./credentials.ts";
import { answerError, connectionError, RegistryError } from "./errors.ts";
import { BodyError, HttpClient, type HttpRequest, type HttpResponse, type Limits } from "./http.ts";
import { noteRetryAfter, retrying } from "./retry.ts";

export interface SessionOptions {
  /** "host[:port]". */
  address: string;
  plainHttp: boolean;
  ca?: string;
  credentials?: Credentials;
  userAgent: string;
  limits: Limits;
}

export interface Call {
  /** For messages: "reading the manifest of 1.2". */
  doing: string;
  method: HttpRequest["method"];
  /** A path of the API below /v2/, or an address that the registry gave. */
  to: string | URL;
  repository?: string;
  scope: Scope;
  headers?: Record<string, string>;
  /** The body, made anew for each time it is sent. */
  body?: () => NonNullable<HttpRequest["body"]>;
  /** The statuses that are no error. */
  expect: readonly number[];
  signal?: AbortSignal;
  idleTimeoutMs?: number;
  answerTimeoutMs?: number;
}

/** An answer, and the address that gave it in the end. */
export interface Answer {
  response: HttpResponse;
  url: URL;
}

const ERROR_BODY_BYTES = 16 * 1024;
const MAX_REDIRECTS = 5;

/**
 * Talks to one registry: authorizes requests, follows redirects, turns failures into `RegistryError`s.
 *
 * Guarantees: the `Authorization` header goes to the registry's own origin only; from HTTPS no redirect and no
 * upload address leads to plain HTTP.
 */
export class Session {
  readonly limits: Limits;
  readonly #options: SessionOptions;
  readonly #http: HttpClient;
  readonly #auth: Authorizer;
  readonly #origin: string;

  constructor(options: SessionOptions) {
    const { address, plainHttp, credentials } = options;
    // Docker Hub's API does not live where its name says.
    const host = address === "docker.io" ? "registry-1.docker.io" : address;
    this.#options = options;
    this.limits = options.limits;
    this.#origin = new URL(`${plainHttp ? "http" : "https"}://${host}`).origin;
    this.#http = new HttpClient(options);
    this.#auth = new Authorizer({ http: this.#http, registry: address, credentials, plainHttp });
  }

  /** One call, tried again while the registry is unreachable. Errors: `RegistryError`, the signal's reason. */
  async call(call: Call): Promise<Answer> {
    return await retrying(this.limits, call.signal, () => this.once(call));
  }

  /** One call, not tried again. */
  async once(call: Call): Promise<Answer> {
    const { doing, expect, repository } = call;
    let url = typeof call.to === "string" ? new URL(`/v2/${call.to}`, this.#origin) : call.to;
    for (let redirects = 0; ; redirects += 1) {
      const { response, refused } = await this.#authorized(call, url);
      if (expect.includes(response.status)) return { response, url };
      if (response.status >= 300 && response.status < 400 && response.status !== 304) {
        await response.discard();
        if (redirects === MAX_REDIRECTS)
          throw this.error("protocol", `${doing}: redirected without end`, call);
        if (call.body)
          throw this.error("protocol", `${doing}: redirected, which an upload does not follow`, call);
        url = this.locate(response.header("location"), url, call);
        continue;
      }
      const body = call.method === "HEAD" ? await drained(response) : await response.read(ERROR_BODY_BYTES);
      const details = { registry: this.#options.address, repository, status: response.status };
      const error = answerError(doing, response.status, body?.toString("utf8") ?? "", details, refused);
      noteRetryAfter(error, response.header("retry-after"));
      throw error;
    }
  }

  /** Resolves an address that the registry gave. Errors: `protocol`, `tls`. */
  locate(
    location: string | undefined,
    base: URL,
    { doing, repository }: Pick<Call, "doing" | "repository">,
  ): URL {
    const url = location === undefined ? null : URL.parse(location, base);
    if (!url || !/^https?:$/.test(url.protocol)) {
      throw this.error("protocol", `${doing}: the registry answers without an address to go on`, {
        repository,
      });
    }
    if (url.protocol === "http:" && !this.#options.plainHttp) {
      const why = "leads from HTTPS to plain HTTP; the proxy before it must set X-Forwarded-Proto";
      throw this.error("tls", `${doing}: ${why} (${url.host})`, { repository });
    }
    return url;
  }

  error(code: RegistryError["code"], what: string, { repository }: { repository?: string }): RegistryError {
    return new RegistryError(code, what, { registry: this.#options.address, repository });
  }

  /** The error for a connection that broke off. */
  unreachable(cause: unknown, { repository }: { repository?: string }): RegistryError {
    return connectionError(cause, { registry: this.#options.address, repository });
  }

  async close(): Promise<void> {
    await this.#http.close();
  }

  async #authorized(
    call: Call,
    url: URL,
  ): Promise<{ response: HttpResponse; refused?: RegistryError["code"] }> {
    const { scope, signal } = call;
    if (url.origin !== this.#origin) return { response: await this.#send(call, url, undefined) };
    const header = await this.#auth.header(scope, signal);
    const response = await this.#send(call, url, header);
    if (response.status !== 401) return { response };
    await response.discard();
    const better = await this.#auth.challenged(response, scope, header, signal);
    const again = await this.#send(call, url, better);
    return { response: again, refused: again.status === 401 ? this.#auth.refused(again) : undefined };
  }

  async #send(call: Call, url: URL, authorization: string | undefined): Promise<HttpResponse> {
    const { method, headers, body, signal, idleTimeoutMs, answerTimeoutMs } = call;
    try {
      return await this.#http.send({
        method,
        url,
        headers: { ...headers, ...(authorization && { authorization }) },
        body: body?.(),
        signal,
        idleTimeoutMs,
        answerTimeoutMs,
      });
    } catch (cause) {
      signal?.throwIfAborted();
      if (cause instanceof BodyError) throw cause.cause;
      throw this.unreachable(cause, call);
    }
  }
}

async function drained(response: HttpResponse): Promise<undefined> {
  await response.discard();
}
