import type { Socket } from "node:net";
import { KubeConfig } from "@kubernetes/client-node/dist/config.js";
import { ApiError, ConnectionError } from "./errors.ts";
import type { Metrics } from "./metrics.ts";
import { keyOf } from "./owner.ts";
import {
  apiVersionOf,
  type KubeObject,
  type ObjectMeta,
  type ObjectName,
  type Resource,
} from "./resources.ts";
import { after, delay, follow } from "./signals.ts";
import { readBody, Transport } from "./transport.ts";
import { handshake } from "./websocket.ts";

/** What every call may be given. */
export interface CallOptions {
  signal?: AbortSignal;
  /** How long one attempt may take until its answer is read whole, in milliseconds; 30 s unless said. */
  timeoutMs?: number;
}

export interface ListOptions extends CallOptions {
  /** Absent: all namespaces. */
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
  limit?: number;
  continue?: string;
  resourceVersion?: string;
}

export interface WriteOptions extends CallOptions {
  fieldManager?: string;
  /** Whether to have it checked only, and not stored. */
  dryRun?: boolean;
}

export interface PatchOptions extends WriteOptions {
  subresource?: string;
}

export interface ApplyOptions extends CallOptions {
  fieldManager: string;
  subresource?: string;
  /** Takes fields away from their other owners; false unless said, and then a 409 names them. */
  force?: boolean;
  dryRun?: boolean;
}

export interface DeleteOptions extends CallOptions {
  preconditions?: { uid?: string; resourceVersion?: string };
  propagationPolicy?: "Foreground" | "Background" | "Orphan";
  gracePeriodSeconds?: number;
}

/** JSON Patch (RFC 6902): with `test` operations the only patch that says what it relies on. */
export type JsonPatch = Array<
  | { op: "add" | "replace" | "test"; path: string; value: unknown }
  | { op: "remove"; path: string }
  | { op: "move" | "copy"; path: string; from: string }
>;

export type Patch = { type: "json"; body: JsonPatch } | { type: "merge" | "strategic"; body: object };

/** An object as it is sent: what the resource already says may be left out. */
export type Draft<T extends KubeObject> = Omit<T, "metadata"> & {
  metadata: Omit<ObjectMeta, "name"> & { name?: string };
};

/** One page, or the whole, of a list. Each item carries its apiVersion and kind. */
export interface List<T> {
  items: T[];
  resourceVersion: string;
  /** Token for the next page; absent on the last. */
  continue: string | undefined;
  remainingItemCount: number | undefined;
}

export type Query = Record<string, string | number | boolean | undefined>;

export interface RequestOptions extends CallOptions {
  query?: Query;
  /** Sent as JSON, as it is. */
  body?: unknown;
  contentType?: string;
}

/** A body that arrives over time. Disposing it closes the connection. */
export interface ByteStream extends Disposable {
  chunks: AsyncIterable<Buffer>;
}

const defaultTimeoutMs = 30_000;
const pageSize = 500;
/** How often a request is sent again because the server said it was too busy to look at it. */
const busyRetries = 5;

/**
 * A client of the Kubernetes API that sends and receives JSON as it is: an object passes through with all its
 * fields, those this program has never heard of included.
 *
 * Guarantees: every request but a stream ends within its timeout; one that the server turned away unread (429, or
 * 503, with Retry-After) is sent again, a few times, within it. Nothing else is sent twice: whether a write whose
 * answer was lost has been done is for the caller to find out.
 *
 * Errors: {@link ApiError} for an answer that is not success, {@link ConnectionError} where no answer came, the
 * signal's own reason where it aborted.
 */
export class Client {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /**
   * A client after the given kubeconfig; without one, after $KUBECONFIG, ~/.kube/config, or the service account of
   * the pod it runs in.
   */
  static fromConfig(
    options: { kubeconfig?: string; context?: string; userAgent?: string; metrics?: Metrics } = {},
  ): Client {
    const load = () => {
      const config = new KubeConfig();
      if (options.kubeconfig) config.loadFromFile(options.kubeconfig);
      else config.loadFromDefault();
      if (options.context) config.setCurrentContext(options.context);
      return config;
    };
    return new Client(
      new Transport({ load, userAgent: options.userAgent ?? "kube-client", metrics: options.metrics }),
    );
  }

  /** The namespace of the current context; in a pod, the pod's own. */
  get namespace(): string | undefined {
    return this.#transport.target.namespace;
  }

  /** Address of the API server. */
  get server(): string {
    return this.#transport.target.server;
  }

  async get<T extends KubeObject>(
    resource: Resource<T>,
    name: ObjectName,
    options: CallOptions = {},
  ): Promise<T> {
    return this.request<T>("GET", objectPath(resource, name), options);
  }

  /** One page of a list, the whole of it without `limit`. */
  async list<T extends KubeObject>(resource: Resource<T>, options: ListOptions = {}): Promise<List<T>> {
    const { namespace, signal, timeoutMs, ...query } = options;
    const path = collectionPath(resource, namespace);
    const answer = await this.request<ListAnswer<T>>("GET", path, { query: { ...query }, signal, timeoutMs });
    const identity = { apiVersion: apiVersionOf(resource), kind: resource.kind };
    return {
      // The server leaves apiVersion and kind out of a list's items.
      items: (answer.items ?? []).map((item) => ({ ...identity, ...item })),
      resourceVersion: answer.metadata?.resourceVersion ?? "",
      continue: answer.metadata?.continue || undefined,
      remainingItemCount: answer.metadata?.remainingItemCount,
    };
  }

  /** All items, fetched in pages of `limit` (500). Errors: 410 when paging took longer than the server remembers. */
  async listAll<T extends KubeObject>(resource: Resource<T>, options: ListOptions = {}): Promise<List<T>> {
    const items: T[] = [];
    let page: List<T> | undefined;
    do {
      page = await this.list(resource, { limit: pageSize, ...options, continue: page?.continue });
      items.push(...page.items);
    } while (page.continue);
    return { ...page, items };
  }

  async create<T extends KubeObject>(
    resource: Resource<T>,
    object: Draft<T>,
    options: WriteOptions = {},
  ): Promise<T> {
    const { signal, timeoutMs } = options;
    const path = collectionPath(resource, namespaceFor(resource, object.metadata));
    return this.request<T>("POST", path, {
      query: writeQuery(options),
      body: identified(resource, object),
      signal,
      timeoutMs,
    });
  }

  /** Replaces the whole object; with a resourceVersion in it, only if that is still the newest (else 409). */
  async replace<T extends KubeObject>(
    resource: Resource<T>,
    object: T,
    options: WriteOptions = {},
  ): Promise<T> {
    return this.#put(resource, object, undefined, options);
  }

  /** As {@link replace}, of the status alone. */
  async replaceStatus<T extends KubeObject>(
    resource: Resource<T>,
    object: T,
    options: WriteOptions = {},
  ): Promise<T> {
    return this.#put(resource, object, "status", options);
  }

  async patch<T extends KubeObject>(
    resource: Resource<T>,
    name: ObjectName,
    patch: Patch,
    options: PatchOptions = {},
  ): Promise<T> {
    const { signal, timeoutMs, subresource } = options;
    return this.request<T>("PATCH", objectPath(resource, name, subresource), {
      query: writeQuery(options),
      body: patch.body,
      contentType: patchTypes[patch.type],
      signal,
      timeoutMs,
    });
  }

  /** Server-side apply: creates the object, or makes the fields in it this manager's. See `apply.ts` for the safe way. */
  async apply<T extends KubeObject>(
    resource: Resource<T>,
    object: Draft<T>,
    options: ApplyOptions,
  ): Promise<T> {
    const { signal, timeoutMs, subresource, force = false } = options;
    const { name } = object.metadata;
    if (!name) throw new TypeError(`an applied ${resource.kind} needs a name`);
    const path = objectPath(resource, { namespace: object.metadata.namespace, name }, subresource);
    return this.request<T>("PATCH", path, {
      query: { ...writeQuery(options), force },
      body: identified(resource, object),
      contentType: "application/apply-patch+yaml",
      signal,
      timeoutMs,
    });
  }

  /** Asks for deletion; finalizers may keep the object for a while. Errors: 409 where a precondition does not hold. */
  async delete<T extends KubeObject>(
    resource: Resource<T>,
    name: ObjectName,
    options: DeleteOptions = {},
  ): Promise<void> {
    const { signal, timeoutMs, ...body } = options;
    await this.request("DELETE", objectPath(resource, name), {
      body: { apiVersion: "v1", kind: "DeleteOptions", ...body },
      signal,
      timeoutMs,
    });
  }

  /** Sends JSON and reads JSON. `path` is escaped already, as {@link objectPath} makes it. */
  async request<T = unknown>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
    const { signal, timeoutMs = defaultTimeoutMs, query, body, contentType = "application/json" } = options;
    const target = path + queryString(query);
    const what = `${method} ${target}`;
    const deadline = performance.now() + timeoutMs;
    for (let attempt = 0; ; attempt++) {
      using limit = follow(signal);
      const cancelTimer = after(deadline - performance.now(), () =>
        limit.abort(new RequestTimeout(timeoutMs)),
      );
      try {
        const answer = await this.#transport.send({
          method,
          path: target,
          headers: body === undefined ? undefined : { "content-type": contentType },
          body: body === undefined ? undefined : JSON.stringify(body),
          signal: limit.signal,
        });
        return JSON.parse(await readBody(answer)) as T;
      } catch (error) {
        const waitMs = turnedAway(error);
        if (waitMs === undefined || attempt >= busyRetries || performance.now() + waitMs >= deadline) {
          // A timeout reaches the reader of a body as a mere reset; its reason says more.
          throw describe(what, limit.signal.aborted ? limit.signal.reason : error, signal);
        }
        cancelTimer();
        await delay(waitMs, signal);
      } finally {
        cancelTimer();
      }
    }
  }

  /**
   * Opens a body that arrives over time, a watch or a log. The answer's headers must come within the timeout; from
   * then on only the signal, or disposing the stream, ends it.
   */
  async stream(path: string, options: { query?: Query } & CallOptions = {}): Promise<ByteStream> {
    const { query, signal, timeoutMs = defaultTimeoutMs } = options;
    const target = path + queryString(query);
    const limit = follow(signal);
    const cancelTimer = after(timeoutMs, () => limit.abort(new RequestTimeout(timeoutMs)));
    const close = () => {
      limit.abort(new Error("the stream was closed"));
      limit[Symbol.dispose]();
    };
    try {
      const chunks = await this.#transport.send({ method: "GET", path: target, signal: limit.signal });
      // Closing destroys the message with an error that nobody is left to read.
      chunks.on("error", () => {});
      return { chunks, [Symbol.dispose]: close };
    } catch (error) {
      close();
      throw describe(`GET ${target}`, error, signal);
    } finally {
      cancelTimer();
    }
  }

  /**
   * Opens a WebSocket with that subprotocol, and gives the connection with what came on it already: frames are for the
   * caller to make and read. From then on only the caller ends it.
   */
  async upgrade(
    path: string,
    protocol: string,
    options: { query?: Query } & CallOptions = {},
  ): Promise<{ socket: Socket; head: Buffer }> {
    const { query, signal, timeoutMs = defaultTimeoutMs } = options;
    const target = path + queryString(query);
    const what = `GET ${target}`;
    const { headers: asking, accept } = handshake(protocol);
    // Of no kind that is negotiated: the API server refuses JSON.
    const headers = { ...asking, accept: "*/*" };
    using limit = follow(signal);
    const cancelTimer = after(timeoutMs, () => limit.abort(new RequestTimeout(timeoutMs)));
    try {
      const opened = await this.#transport.upgrade({
        method: "GET",
        path: target,
        headers,
        signal: limit.signal,
      });
      const isRight =
        opened.headers["sec-websocket-accept"] === accept &&
        opened.headers["sec-websocket-protocol"] === protocol;
      if (isRight) return opened;
      opened.socket.destroy();
      throw new ConnectionError(what, new Error(`the server does not speak ${protocol}`));
    } catch (error) {
      throw describe(what, error, signal);
    } finally {
      cancelTimer();
    }
  }

  /** Closes idle connections. */
  close(): void {
    this.#transport.close();
  }

  async #put<T extends KubeObject>(
    resource: Resource<T>,
    object: T,
    subresource: string | undefined,
    options: WriteOptions,
  ): Promise<T> {
    const { signal, timeoutMs } = options;
    return this.request<T>("PUT", objectPath(resource, object.metadata, subresource), {
      query: writeQuery(options),
      body: identified(resource, object),
      signal,
      timeoutMs,
    });
  }
}

interface ListAnswer<T> {
  metadata?: { resourceVersion?: string; continue?: string; remainingItemCount?: number };
  items?: T[] | null;
}

class RequestTimeout extends Error {
  override readonly name = "TimeoutError";
  constructor(timeoutMs: number) {
    super(`no whole answer within ${timeoutMs} ms`);
  }
}

const patchTypes = {
  json: "application/json-patch+json",
  merge: "application/merge-patch+json",
  strategic: "application/strategic-merge-patch+json",
};

/** Path of one object, or of a subresource of it. Errors: a TypeError for a name that would lead elsewhere. */
export function objectPath(resource: Resource, name: ObjectName, subresource?: string): string {
  if (resource.namespaced && !name.namespace)
    throw new TypeError(`${resource.kind} ${name.name} needs a namespace`);
  const path = `${collectionPath(resource, name.namespace)}/${segment(name.name)}`;
  return subresource === undefined ? path : `${path}/${segment(subresource)}`;
}

/** Path of all objects of a kind, in one namespace or in all. */
export function collectionPath(resource: Resource, namespace?: string): string {
  const { group, version, plural, namespaced } = resource;
  const root = group === "" ? `/api/${segment(version)}` : `/apis/${segment(group)}/${segment(version)}`;
  return namespaced && namespace ? `${root}/namespaces/${segment(namespace)}/${plural}` : `${root}/${plural}`;
}

/** One element of a path; the API server forbids these names too, but would look at the path first. */
function segment(text: string): string {
  if (text === "" || text === "." || text === ".." || text.includes("/")) {
    throw new TypeError(`${JSON.stringify(text)} cannot be part of an API path`);
  }
  return encodeURIComponent(text);
}

function queryString(query: Query = {}): string {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== "") pairs.set(name, String(value));
  }
  return pairs.size === 0 ? "" : `?${pairs}`;
}

function writeQuery({ fieldManager, dryRun }: { fieldManager?: string; dryRun?: boolean }): Query {
  return { fieldManager, dryRun: dryRun ? "All" : undefined };
}

function namespaceFor(
  resource: Resource,
  metadata: { name?: string; namespace?: string },
): string | undefined {
  if (resource.namespaced && !metadata.namespace) {
    throw new TypeError(`${resource.kind} ${keyOf({ name: metadata.name ?? "" })} needs a namespace`);
  }
  return metadata.namespace;
}

function identified<T extends KubeObject>(resource: Resource<T>, object: Draft<T>): object {
  return { ...object, apiVersion: apiVersionOf(resource), kind: resource.kind };
}

/** How long to wait before sending again what the server did not look at; undefined where it did. */
function turnedAway(error: unknown): number | undefined {
  if (!(error instanceof ApiError) || error.retryAfterSeconds === undefined) return undefined;
  return error.status === 429 || error.status === 503 ? error.retryAfterSeconds * 1000 : undefined;
}

/** An aborted signal's reason stays what the caller gave; all else says which request it was. */
function describe(what: string, error: unknown, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted) return signal.reason;
  return error instanceof ApiError || error instanceof ConnectionError
    ? error
    : new ConnectionError(what, error);
}
