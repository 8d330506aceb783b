import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { request as ask, createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { KubeConfig } from "@kubernetes/client-node/dist/config.js";
import { kubeconfig } from "../../cluster/kubeconfig.ts";
import { createAuthority, issue } from "../../cluster/pki.ts";
import { lines } from "../../src/kube/lines.ts";
import { delay } from "../../src/kube/signals.ts";

/** What may befall one request on its way. */
export type Fault =
  /** The server is never asked: this is the answer. */
  | { type: "answer"; status: 409 | 410 | 429 | 500 | 503; retryAfterSeconds?: number }
  /** The connection breaks before the server is asked. */
  | { type: "refuse" }
  /** The server does what it is asked, and the connection breaks before its answer is through. */
  | { type: "lose" }
  /** The answer breaks off after so many bytes, in the middle of a line if need be. */
  | { type: "cut"; afterBytes: number }
  /** Nothing comes any more after so many bytes, and nobody closes. */
  | { type: "stall"; afterBytes: number }
  | { type: "delay"; ms: number }
  /** The server is asked only then, whether or not whoever asked still waits for an answer, or lives. */
  | { type: "hold"; until: Promise<unknown> }
  /** Of a watch: bookmarks are left out. */
  | { type: "no-bookmarks" }
  /** Of a watch: each line comes twice. */
  | { type: "twice" }
  /** Of a watch: it ends in an error of the server's, 410, after so many lines. */
  | { type: "expire"; afterLines: number };

/** A request as it comes. */
export interface Asked {
  method: string;
  /** Path and query. */
  url: string;
  isWatch: boolean;
  contentType: string;
  /** Of a write, as it was parsed. */
  body?: unknown;
}

/** A request that changes something, and what the server said to it; absent as long as it has said nothing. */
export interface Written extends Asked {
  status?: number;
}

/** A proxy before a real API server that understands what passes, and does harm as it is told. */
export interface FaultProxy extends AsyncDisposable {
  /** Contents of a kubeconfig for the server behind it, as an administrator. */
  readonly kubeconfig: string;
  /** `https://127.0.0.1:<port>`. */
  readonly url: string;
  /** In PEM, who signed the certificate that it shows now. */
  readonly ca: string;
  /** Chooses what befalls a request; undefined: nothing. */
  befall: (request: Asked) => Fault | undefined;
  /** All writes so far, in the order in which they came. */
  readonly transcript: readonly Written[];
  /** From now on whoever does not show the returned token is answered 401. */
  rotateToken(): string;
  /** From now on it shows a certificate of another authority; connections that are open break. */
  rotateAuthority(): void;
  /**
   * Breaks all connections and answers nothing any more, until the returned function is called: what was asked
   * meanwhile comes to the server then.
   */
  partition(): () => void;
  /** How often each kind of fault has befallen a request. */
  readonly befallen: ReadonlyMap<Fault["type"], number>;
  /** Watches that are open now, stalled ones included. */
  readonly watches: number;
  /** Breaks all connections that are open. */
  cut(): void;
}

/** `path` is of an administrator's kubeconfig with a client certificate. */
export async function startFaultProxy(path: string): Promise<FaultProxy> {
  const config = new KubeConfig();
  config.loadFromFile(path);
  const { server: url } = config.getCurrentCluster()!;
  const target = new URL(url);
  const credentials: { ca?: string; cert?: string; key?: string } = {};
  await config.applyToHTTPSOptions(credentials as never);

  const show = () => {
    const authority = createAuthority("fault proxy");
    return { authority, serving: issue(authority, { commonName: "fault proxy", names: ["127.0.0.1"] }) };
  };
  let { authority, serving } = show();
  let token: string | undefined;
  let whole: Promise<void> | undefined;
  const transcript: Written[] = [];
  const befallen = new Map<Fault["type"], number>();
  const open = new Set<ServerResponse>();
  let watches = 0;

  const proxy = createServer(serving, (incoming, outgoing) => {
    const { method = "GET", url = "/" } = incoming;
    const isWatch = new URL(url, "https://proxy").searchParams.get("watch") === "true";
    const asked: Asked = { method, url, isWatch, contentType: incoming.headers["content-type"] ?? "" };
    // Of one whose asker is gone nobody needs to hear.
    outgoing.on("error", () => {});
    open.add(outgoing);
    if (isWatch) watches += 1;
    outgoing.once("close", () => {
      open.delete(outgoing);
      if (isWatch) watches -= 1;
    });
    void take(incoming, outgoing, asked).catch(() => outgoing.destroy());
  });

  async function take(incoming: IncomingMessage, outgoing: ServerResponse, asked: Asked): Promise<void> {
    if (token !== undefined && incoming.headers.authorization !== `Bearer ${token}`) {
      answer(outgoing, { status: 401 });
      return;
    }
    if (asked.method === "GET") {
      await pass(incoming, outgoing, choose(asked), asked);
      return;
    }
    const text = Buffer.concat(await Array.fromAsync(incoming as AsyncIterable<Buffer>)).toString();
    const written: Written = { ...asked, body: JSON.parse(text || "null") };
    transcript.push(written);
    await pass(incoming, outgoing, choose(written), written, text);
  }

  function choose(asked: Asked): Fault | undefined {
    const fault = self.befall(asked) ?? (whole && { type: "hold", until: whole });
    if (fault !== undefined) befallen.set(fault.type, (befallen.get(fault.type) ?? 0) + 1);
    return fault;
  }

  async function pass(
    incoming: IncomingMessage,
    outgoing: ServerResponse,
    fault: Fault | undefined,
    asked: Written,
    body?: string,
  ): Promise<void> {
    const { isWatch } = asked;
    if (fault?.type === "refuse") {
      incoming.socket.destroy();
      return;
    }
    if (fault?.type === "answer") {
      answer(outgoing, fault);
      return;
    }
    if (fault?.type === "delay") await delay(fault.ms);
    if (fault?.type === "hold") await fault.until;
    const { host: _, authorization: __, ...headers } = incoming.headers;
    const { method, url } = incoming;
    const upstream = ask({
      ...credentials,
      host: target.hostname,
      port: target.port,
      method,
      path: url,
      headers,
      agent: false,
    });
    // A write is told of in any case.
    if (body === undefined) outgoing.once("close", () => upstream.destroy());
    upstream.on("error", () => outgoing.destroy());
    upstream.end(body);
    const [response] = (await once(upstream, "response")) as [IncomingMessage];
    asked.status = response.statusCode ?? 502;
    response.on("error", () => outgoing.destroy());
    if (fault?.type === "lose") {
      response.resume();
      await once(response, "end");
      outgoing.destroy();
      return;
    }
    outgoing.writeHead(response.statusCode ?? 502, response.headers);
    outgoing.flushHeaders();
    if (isWatch && response.statusCode === 200) await passLines(response, outgoing, fault);
    else await passBytes(response, outgoing, fault);
  }

  const self = {
    kubeconfig: "",
    url: "",
    get ca() {
      return authority.cert;
    },
    befall: (() => undefined) as FaultProxy["befall"],
    befallen,
    transcript,
    rotateToken() {
      token = randomUUID();
      return token;
    },
    rotateAuthority() {
      ({ authority, serving } = show());
      proxy.setSecureContext(serving);
      proxy.closeAllConnections();
    },
    partition() {
      const healed = Promise.withResolvers<void>();
      whole = healed.promise;
      self.cut();
      return () => {
        whole = undefined;
        healed.resolve();
      };
    },
    get watches() {
      return watches;
    },
    cut() {
      for (const response of open) response.destroy();
    },
    async [Symbol.asyncDispose]() {
      self.cut();
      proxy.closeAllConnections();
      proxy.close();
      await once(proxy, "close");
    },
  };
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  const { port } = proxy.address() as AddressInfo;
  self.url = `https://127.0.0.1:${port}`;
  // Whoever asks here is let through as an administrator.
  self.kubeconfig = kubeconfig(
    { url: self.url, ca: authority.cert },
    issue(authority, { commonName: "anybody" }),
  );
  return self;
}

function answer(
  outgoing: ServerResponse,
  {
    status,
    retryAfterSeconds,
  }: { status: 401 | (Fault & { type: "answer" })["status"]; retryAfterSeconds?: number },
): void {
  const reasons = {
    401: "Unauthorized",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
  };
  const body = { kind: "Status", apiVersion: "v1", status: "Failure", code: status, reason: reasons[status] };
  const headers = retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) };
  outgoing.writeHead(status, { "content-type": "application/json", ...headers });
  outgoing.end(JSON.stringify({ ...body, message: "made up by a test" }));
}

async function passBytes(
  response: IncomingMessage,
  outgoing: ServerResponse,
  fault: Fault | undefined,
): Promise<void> {
  const limit =
    fault?.type === "cut" || fault?.type === "stall" ? fault.afterBytes : Number.POSITIVE_INFINITY;
  let passed = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    const part = chunk.subarray(0, limit - passed);
    passed += part.length;
    if (part.length > 0) outgoing.write(part);
    if (part.length === chunk.length) continue;
    if (fault?.type === "cut") outgoing.destroy();
    // A stall holds what is left until the reader gives up.
    else await once(outgoing, "close");
    return;
  }
  outgoing.end();
}

async function passLines(
  response: IncomingMessage,
  outgoing: ServerResponse,
  fault: Fault | undefined,
): Promise<void> {
  if (fault?.type === "cut" || fault?.type === "stall") {
    await passBytes(response, outgoing, fault);
    return;
  }
  let passed = 0;
  for await (const line of lines(response as AsyncIterable<Buffer>)) {
    if (fault?.type === "expire" && passed >= fault.afterLines) {
      const object = { kind: "Status", apiVersion: "v1", status: "Failure", code: 410, reason: "Expired" };
      outgoing.end(`${JSON.stringify({ type: "ERROR", object })}\n`);
      return;
    }
    passed += 1;
    if (fault?.type === "no-bookmarks" && line.includes('"BOOKMARK"')) continue;
    outgoing.write(`${line}\n`.repeat(fault?.type === "twice" ? 2 : 1));
  }
  outgoing.end();
}
