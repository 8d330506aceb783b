import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { pipeline } from "node:stream/promises";
import type { Checkpoint } from "../api/checkpoint.ts";
import { type DownloadRefusal, parseDownloadPath } from "../api/download.ts";
import { KcrError } from "../api/errors.ts";
import type { ObjectName } from "../kube/resources.ts";
import { after, follow } from "../kube/signals.ts";
import { contentRangeOf, parseRange } from "../transfer/protocol.ts";
import type { Archive } from "./archive.ts";
import { isPassing } from "./archives.ts";
import type { Grant } from "./grants.ts";

export interface ServerOptions {
  /** 0: any that is free. */
  port: number;
  /** What that token opens of the object of that name, if anything. Errors are answered with "come again". */
  grant(name: ObjectName, token: string, signal: AbortSignal): Promise<Grant | undefined>;
  /** Has `use` read a Checkpoint's archive. Errors: KcrError for what a person is to be told. */
  read<T>(checkpoint: Checkpoint, signal: AbortSignal, use: (archive: Archive) => Promise<T>): Promise<T>;
  now(): number;
  /** What became of a request of somebody with a token, and why it failed if it did. */
  onAnswered?(answer: { checkpoint: string; status: number; bytes: number; error?: unknown }): void;
  /** An error of this side's. */
  onError?(error: unknown): void;
}

export interface DownloadServer {
  readonly port: number;
  /** Cuts what is being sent. */
  close(): Promise<void>;
}

/** Only who is in the pod's network, as a port-forward is, gets as far as this. */
const HOST = "127.0.0.1";
const CONNECTIONS = 64;
/** Of which so many may be one token's, so that who has one takes nobody else's place. */
const CONNECTIONS_OF_TOKEN = 4;
/** A connection on which nothing moves is closed after so many milliseconds. */
const IDLE_MS = 60_000;
const HEADERS_MS = 10_000;
const BEARER = /^Bearer ([A-Za-z0-9_-]{43})$/;

class Expired extends Error {}

/**
 * Answers who shows a token (see `downloadPath` in src/api/download.ts), and nobody else.
 *
 * Guarantees: to whoever shows none that is valid now all answers are the same. What is sent ends with the token's time.
 * Nothing is kept of what is sent. Errors: a port that is taken.
 */
export async function serveDownloads(options: ServerOptions): Promise<DownloadServer> {
  const stop = new AbortController();
  /** Open connections on which a token was shown, by the UID that it is for. */
  const connections = new Map<string, Set<Socket>>();
  const server = createServer(
    { headersTimeout: HEADERS_MS, requestTimeout: HEADERS_MS },
    (request, response) => {
      handle(request, response).catch((error: unknown) => {
        if (response.headersSent) response.destroy();
        else if (error instanceof KcrError) refuse(response, isPassing(error.cause) ? 503 : 404, error);
        else
          refuse(response, 503, new KcrError("DownloadUnavailable", "the download part cannot answer now"));
        if (!stop.signal.aborted) options.onError?.(error);
      });
    },
  );
  server.setTimeout(IDLE_MS);
  server.maxConnections = CONNECTIONS;
  server.listen(options.port, HOST);
  await once(server, "listening");

  /** Whether the connection may be used with that token, as it then may until it is closed. */
  function admit(uid: string, socket: Socket): boolean {
    const own = connections.get(uid) ?? new Set();
    if (own.has(socket)) return true;
    if (socket.destroyed || own.size >= CONNECTIONS_OF_TOKEN) return false;
    connections.set(uid, own.add(socket));
    socket.once("close", () => {
      own.delete(socket);
      if (own.size === 0) connections.delete(uid);
    });
    return true;
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "", url = "", headers } = request;
    const name = parseDownloadPath(url);
    const [, token] = BEARER.exec(headers.authorization ?? "") ?? [];
    const isAsked = (method === "GET" || method === "HEAD") && name !== undefined && token !== undefined;
    const grant = isAsked ? await options.grant(name, token, stop.signal) : undefined;
    if (grant === undefined) {
      response.writeHead(401, { "content-length": 0, connection: "close" }).end();
      return;
    }
    const { uid, checkpoint, until } = grant;
    if (!admit(uid, request.socket)) {
      const what = `this token has ${CONNECTIONS_OF_TOKEN} connections already`;
      response.setHeader("connection", "close");
      return refuse(response, 503, new KcrError("DownloadUnavailable", what));
    }
    using limit = follow(stop.signal);
    const cancel = after(until - options.now(), () => limit.abort(new Expired("the token's time is over")));
    // A person who goes is not sent to.
    response.once("close", () => {
      if (!response.writableFinished) limit.abort(new Error("the connection was closed"));
    });
    try {
      await options.read(checkpoint, limit.signal, (archive) =>
        send(archive, checkpoint, request, response, limit.signal),
      );
    } catch (error) {
      // Who goes comes again for the rest; whose time is over has heard so.
      if (!limit.signal.aborted) throw error;
      response.destroy();
    } finally {
      cancel();
    }
  }

  async function send(
    archive: Archive,
    checkpoint: Checkpoint,
    { method, headers }: IncomingMessage,
    response: ServerResponse,
    signal: AbortSignal,
  ): Promise<void> {
    const { size, from } = archive;
    const common = {
      "accept-ranges": "bytes",
      etag: `"${checkpoint.status?.digest}"`,
      "x-kcr-source": from,
      "content-type": "application/x-tar",
    };
    const range = headers.range === undefined ? { from: 0, end: size } : parseRange(headers.range, size);
    if (range === undefined) {
      response.writeHead(416, { ...common, "content-range": `bytes */${size}`, "content-length": 0 }).end();
      return;
    }
    const status = headers.range === undefined ? 200 : 206;
    response.writeHead(status, {
      ...common,
      "content-length": range.end - range.from,
      ...(status === 206 && { "content-range": contentRangeOf(range, size) }),
    });
    let bytes = 0;
    const told = (error?: unknown): void =>
      options.onAnswered?.({ checkpoint: checkpoint.metadata.name, status, bytes, error });
    if (method === "HEAD") {
      response.end();
      told();
      return;
    }
    try {
      await pipeline(counted(archive.read(range, signal)), response, { signal });
      told();
    } catch (error) {
      told(signal.aborted ? signal.reason : error);
      throw error;
    }
    async function* counted(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
      for await (const chunk of chunks) {
        bytes += chunk.length;
        yield chunk;
      }
    }
  }

  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      stop.abort(new Error("the server stops"));
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function refuse(response: ServerResponse, status: 404 | 503, { code, message }: KcrError): void {
  const body = JSON.stringify({ code, message: message.slice(0, 4096) } satisfies DownloadRefusal);
  const length = Buffer.byteLength(body);
  response
    .writeHead(status, { "content-type": "application/json", "content-length": length, "retry-after": "1" })
    .end(body);
}
