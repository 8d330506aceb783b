import { getCACertificates } from "node:tls";
import { Agent, type Dispatcher } from "undici";

/** How long and how much; all times in milliseconds, all sizes in bytes. */
export interface Limits {
  /** Tries of one request, and of an upload that makes no headway. */
  attempts: number;
  /** The first pause between two tries; it doubles each time. */
  retryDelayMs: number;
  /** The longest pause, also when the registry asks for a longer one. */
  maxRetryDelayMs: number;
  connectTimeoutMs: number;
  /** Longest time without a byte moving, either way. */
  idleTimeoutMs: number;
  /** Longest wait for the registry to take an upload in (it may hash or copy all of it then). */
  commitTimeoutMs: number;
  /** Largest manifest, or list of tags, that is read. */
  documentBytes: number;
}

export const DEFAULT_LIMITS: Limits = {
  attempts: 5,
  retryDelayMs: 300,
  maxRetryDelayMs: 30_000,
  connectTimeoutMs: 10_000,
  idleTimeoutMs: 60_000,
  commitTimeoutMs: 15 * 60_000,
  documentBytes: 4 * 1024 * 1024,
};

export interface HttpRequest {
  method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  url: URL;
  headers?: Record<string, string>;
  body?: Uint8Array | string | AsyncIterable<Uint8Array>;
  signal?: AbortSignal;
  /** Longest time without a byte moving; default the limits' idleTimeoutMs. */
  idleTimeoutMs?: number;
  /**
   * Longest wait for an answer once all of a streamed body was handed over; default as before. Megabytes of it may be
   * on their way still, in the buffers of kernels and proxies, which nobody sees move.
   */
  answerTimeoutMs?: number;
}

export interface HttpResponse {
  status: number;
  /** The first value of a header. */
  header(name: string): string | undefined;
  /** All values of a header. */
  headers(name: string): string[];
  /** The body up to `limit` bytes; undefined when there is more. The rest is dropped either way. */
  read(limit: number): Promise<Buffer | undefined>;
  /** The body as it comes. To be read to its end, or returned from. */
  stream(): AsyncGenerator<Uint8Array, void, undefined>;
  /** Lets go of the body. */
  discard(): Promise<void>;
}

export interface HttpOptions {
  /** PEM certificates that are trusted besides the well-known ones. */
  ca?: string;
  userAgent: string;
  limits: Limits;
}

/** The body to be sent could not be read; the cause is its own error, which is not the network's. */
export class BodyError extends Error {
  constructor(cause: unknown) {
    super("the body cannot be read", { cause });
    this.name = "BodyError";
  }
}

class IdleError extends Error {
  constructor(milliseconds: number) {
    super(`no byte moved for ${milliseconds / 1000} s`);
    this.name = "IdleError";
  }
}

/**
 * Plain HTTP(S), one request at a time, with a limit on idleness in place of one on total time: an upload may
 * take hours, but may not hang.
 *
 * Assumptions: every response's body is read, streamed or discarded, for only then is the connection free.
 */
export class HttpClient {
  readonly #agent: Agent;
  readonly #options: HttpOptions;

  constructor(options: HttpOptions) {
    this.#options = options;
    this.#agent = new Agent({
      // One upload is one stream: HTTP/2's flow control would only slow it down.
      allowH2: false,
      connect: {
        timeout: options.limits.connectTimeoutMs,
        ...(options.ca && { ca: [...getCACertificates("default"), options.ca] }),
      },
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  }

  /** Errors: undici's and Node's, `IdleError`, `BodyError`, the signal's reason. */
  async send(request: HttpRequest): Promise<HttpResponse> {
    const {
      method,
      url,
      headers,
      body,
      signal,
      idleTimeoutMs = this.#options.limits.idleTimeoutMs,
      answerTimeoutMs = idleTimeoutMs,
    } = request;
    const watch = new Watch(signal, idleTimeoutMs);
    const source = isStream(body) ? watched(body, watch, answerTimeoutMs) : body;
    try {
      const response = await this.#agent.request({
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method,
        headers: { "user-agent": this.#options.userAgent, ...headers },
        // undici takes any async iterable; its types only know some.
        body: source as Dispatcher.DispatchOptions["body"],
        signal: watch.signal,
      });
      return new Response(response, watch);
    } catch (error) {
      watch.stop();
      throw watch.failure ?? error;
    }
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }
}

/** Ends a request when its caller wants that, or when nothing moves any more. */
class Watch {
  /** Why the request failed, when that was not the connection's doing. */
  failure: unknown;
  readonly #controller = new AbortController();
  readonly #parent: AbortSignal | undefined;
  readonly #idleTimeoutMs: number;
  #timer: NodeJS.Timeout;
  #paused = false;
  #stopped = false;
  readonly #onAbort = () => this.fail(this.#parent?.reason);

  constructor(parent: AbortSignal | undefined, idleTimeoutMs: number) {
    parent?.throwIfAborted();
    this.#parent = parent;
    this.#idleTimeoutMs = idleTimeoutMs;
    this.#timer = this.#startTimer(idleTimeoutMs);
    parent?.addEventListener("abort", this.#onAbort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** All was sent: the next move may take so long; with no argument it is as before. */
  expect(milliseconds = this.#idleTimeoutMs): void {
    clearTimeout(this.#timer);
    if (!this.#stopped) this.#timer = this.#startTimer(milliseconds);
  }

  #startTimer(milliseconds: number): NodeJS.Timeout {
    return setTimeout(() => {
      if (this.#paused) this.#timer.refresh();
      else this.fail(new IdleError(milliseconds));
    }, milliseconds);
  }

  /** A byte moved; with `waiting` the next move is our own side's turn, and no idleness of the network's. */
  moved({ waiting = false } = {}): void {
    this.#paused = waiting;
    if (!this.#stopped) this.#timer.refresh();
  }

  fail(reason: unknown): void {
    this.failure ??= reason;
    this.stop();
    this.#controller.abort(reason);
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#parent?.removeEventListener("abort", this.#onAbort);
  }
}

class Response implements HttpResponse {
  readonly status: number;
  readonly #response: Dispatcher.ResponseData;
  readonly #watch: Watch;

  constructor(response: Dispatcher.ResponseData, watch: Watch) {
    this.status = response.statusCode;
    this.#response = response;
    this.#watch = watch;
    watch.expect();
  }

  headers(name: string): string[] {
    const value = this.#response.headers[name];
    return value === undefined ? [] : typeof value === "string" ? [value] : value;
  }

  header(name: string): string | undefined {
    return this.headers(name)[0];
  }

  async read(limit: number): Promise<Buffer | undefined> {
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of this.stream()) {
      size += chunk.length;
      if (size > limit) return undefined;
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }

  async *stream(): AsyncGenerator<Uint8Array, void, undefined> {
    const { body } = this.#response;
    try {
      for await (const chunk of body) {
        this.#watch.moved({ waiting: true });
        yield chunk;
        this.#watch.moved();
      }
    } catch (error) {
      throw this.#watch.failure ?? error;
    } finally {
      this.#watch.stop();
    }
  }

  async discard(): Promise<void> {
    await this.#response.body.dump({ limit: 64 * 1024 }).catch(() => {});
    this.#watch.stop();
  }
}

function isStream(body: HttpRequest["body"]): body is AsyncIterable<Uint8Array> {
  return body !== undefined && typeof body !== "string" && !(body instanceof Uint8Array);
}

/** Passes a body on, and notes that it moves. */
async function* watched(
  body: AsyncIterable<Uint8Array>,
  watch: Watch,
  answerTimeoutMs: number,
): AsyncGenerator<Uint8Array> {
  const chunks = body[Symbol.asyncIterator]();
  try {
    for (;;) {
      let next: IteratorResult<Uint8Array>;
      try {
        next = await chunks.next();
      } catch (error) {
        watch.fail(new BodyError(error));
        throw error;
      }
      if (next.done) {
        watch.expect(answerTimeoutMs);
        return;
      }
      watch.moved();
      yield next.value;
    }
  } finally {
    await chunks.return?.();
  }
}
