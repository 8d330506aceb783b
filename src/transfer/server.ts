import type { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { lstat, open, readFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { TLSSocket } from "node:tls";
import {
  COPY_INDEX,
  CORRUPT_MARK,
  type CopyFile,
  type CopyIndex,
  parseCopyIndex,
  type SharedPages,
} from "../store/copy.ts";
import type { Layout } from "../store/layout.ts";
import { type Caller, callerOf, type Identity, TLS_OPTIONS } from "./identity.ts";
import {
  contentRangeOf,
  INDEX_BYTES,
  isLaterPath,
  parsePath,
  parseRange,
  type Range,
  RETRY_AFTER_SECONDS,
} from "./protocol.ts";
import type { Throttle } from "./throttle.ts";

export interface ServerOptions {
  /** 0: any that is free. */
  port: number;
  host?: string;
  /** Whose copies are handed out. */
  layout: Layout;
  identity: Identity;
  /** Whether there is a reason for them to have that copy. Errors are answered with "come again". */
  mayHave(caller: Caller, copy: string, signal: AbortSignal): Promise<boolean>;
  /** Files that are sent at once to nodes, and as many to the download part; who asks for more is told to come again. */
  atOnce: number;
  throttle: Throttle;
  /** A part of a pages file that the copy in a directory holds as pages that it shares. */
  sharedPages(directory: string, index: CopyIndex, pages: SharedPages, range: Range): AsyncIterable<Buffer>;
  /** A copy may be damaged: a node that may have it says so, or a file of it cannot be read as it should be. */
  onDoubt?(copy: string): void;
  /** Bytes of files that were handed to the network. */
  onSent?(bytes: number): void;
  /** What became of each request, and why it failed if that was this side's doing. */
  onAnswered?(status: number, error?: unknown): void;
}

export interface TransferServer {
  readonly port: number;
  /** What new connections are shown. */
  setIdentity(identity: Identity): void;
  /** Cuts what is being sent. */
  close(): Promise<void>;
}

/** Bytes read from disk at once. */
const CHUNK_BYTES = 512 * 1024;
/** A connection on which nothing moves is closed after so many milliseconds. */
const IDLE_MS = 60_000;
const HANDSHAKE_MS = 10_000;
/** Connections at once; beyond them nobody is let in. */
const CONNECTIONS = 256;
/** Copies whose index is remembered. */
const INDEXES = 16;

/**
 * Hands the files of this node's copies to other nodes: see protocol.ts.
 *
 * Guarantees: only copies that are whole and not known to be damaged, only files that their index names, and only to
 * who holds a certificate of the trusted authorities, that of a node or of the download part, for which `mayHave`
 * speaks, valid at the time of each request. Errors: a port that is taken.
 */
export async function serveCopies(options: ServerOptions): Promise<TransferServer> {
  const stop = new AbortController();
  const indexes = new Indexes(options.layout);
  const sockets = new Set<Socket>();
  // People's downloads are as slow as their networks: no restore waits for them.
  const sending: Record<Caller["type"], number> = { node: 0, download: 0 };
  const server = createServer(
    { ...TLS_OPTIONS, ...options.identity, handshakeTimeout: HANDSHAKE_MS },
    (request, response) => {
      handle(request, response).then(
        (status) => options.onAnswered?.(status),
        (error: unknown) => {
          if (response.headersSent) response.destroy();
          else answer(response, 503);
          if (!stop.signal.aborted) options.onAnswered?.(503, error);
        },
      );
    },
  );
  server.setTimeout(IDLE_MS);
  server.maxConnections = CONNECTIONS;
  // Anyone can fail at the handshake as often as he likes: that is no line of log.
  server.on("tlsClientError", () => {});
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.listen(options.port, options.host);
  await once(server, "listening");

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<number> {
    const { method, url = "" } = request;
    const asked = parsePath(url);
    if (isLaterPath(url)) return answer(response, 501);
    const isDoubt = method === "POST" && asked?.file === undefined;
    if (asked === undefined || (method !== "GET" && !isDoubt)) return answer(response, 400);
    const caller = peerOf(request);
    if (caller === undefined) return answer(response, 403);
    if (!(await options.mayHave(caller, asked.copy, stop.signal))) return answer(response, 403);
    if (isDoubt) {
      options.onDoubt?.(asked.copy);
      return answer(response, 202);
    }
    const index = await indexes.find(asked.copy);
    if (index === undefined) return answer(response, 404);
    if (asked.file === undefined) {
      response.writeHead(200, { "content-type": "application/json", "content-length": index.text.length });
      response.end(index.text);
      return 200;
    }
    const file = index.files.get(asked.file);
    const shared = index.shared.get(asked.file);
    if (file !== undefined)
      return await send(caller, asked.copy, file, request, response, openFile(asked.copy, file));
    if (shared === undefined) return answer(response, 404);
    const open = (range: Range) =>
      options.sharedPages(options.layout.copy(asked.copy), index.index, shared, range);
    return await send(caller, asked.copy, shared.pages, request, response, async () => open);
  }

  /** Undefined where it is not what it should be. */
  const openFile =
    (copy: string, { path, size }: CopyFile) =>
    async (opened: AsyncDisposableStack): Promise<Opened | undefined> => {
      const file = await open(join(options.layout.copy(copy), path)).catch(missing);
      if (file === undefined) return undefined;
      opened.use(file);
      const stats = await file.stat();
      if (!stats.isFile() || stats.size !== size) return undefined;
      return ({ from, end }) =>
        file.createReadStream({
          start: from,
          end: end < size ? end - 1 : Number.POSITIVE_INFINITY,
          highWaterMark: CHUNK_BYTES,
          autoClose: false,
        });
    };

  async function send(
    { type }: Caller,
    copy: string,
    { size }: CopyFile,
    request: IncomingMessage,
    response: ServerResponse,
    open: (opened: AsyncDisposableStack) => Promise<Opened | undefined>,
  ): Promise<number> {
    const { range } = request.headers;
    const wanted = range === undefined ? { from: 0, end: size } : parseRange(range, size);
    if (wanted === undefined) return answer(response, 400);
    const { from, end } = wanted;
    if (sending[type] >= options.atOnce) return answer(response, 503);
    sending[type] += 1;
    try {
      await using opened = new AsyncDisposableStack();
      const read = await open(opened);
      // One that was cut short, or is none: the receiver is not to wait for the rest.
      if (read === undefined) {
        options.onDoubt?.(copy);
        return answer(response, 404);
      }
      const status = range === undefined ? 200 : 206;
      response.writeHead(status, {
        "content-type": "application/octet-stream",
        "content-length": end - from,
        ...(range === undefined ? {} : { "content-range": contentRangeOf(wanted, size) }),
      });
      await pipeline(read(wanted), throttled, response, { signal: stop.signal }).catch((error: unknown) => {
        // A receiver that goes, or is cut off, comes again for the rest.
        if (isGone(error)) return;
        options.onDoubt?.(copy);
        throw error;
      });
      return status;
    } finally {
      sending[type] -= 1;
    }
  }

  async function* throttled(content: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of content) {
      await options.throttle.take(chunk.length, stop.signal);
      yield chunk;
      options.onSent?.(chunk.length);
    }
  }

  return {
    port: (server.address() as AddressInfo).port,
    setIdentity: (identity) => server.setSecureContext({ minVersion: TLS_OPTIONS.minVersion, ...identity }),
    async close() {
      stop.abort(new Error("the server stops"));
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** Without content. */
function answer(response: ServerResponse, status: 202 | 400 | 403 | 404 | 501 | 503): number {
  if (status === 503) response.setHeader("retry-after", RETRY_AFTER_SECONDS);
  response.writeHead(status, { "content-length": 0 }).end();
  return status;
}

function peerOf({ socket }: IncomingMessage): Caller | undefined {
  const { authorized, getPeerX509Certificate } = socket as TLSSocket;
  const certificate = getPeerX509Certificate.call(socket) as X509Certificate | undefined;
  return authorized && certificate !== undefined ? callerOf(certificate, new Date()) : undefined;
}

/** A part of a file, to be read. */
type Opened = (range: Range) => AsyncIterable<Buffer>;

interface Index {
  text: Buffer;
  index: CopyIndex;
  /** By sha256: those that there are, and those of the archive that are put together of shared pages. */
  files: Map<string, CopyFile>;
  shared: Map<string, SharedPages>;
}

/** The indexes of a node's copies, read again only when they change: there is a request for each file. */
class Indexes {
  readonly #layout: Layout;
  readonly #known = new Map<string, Index & { version: string }>();

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /** The index of a copy; undefined where there is none to be handed out. */
  async find(copy: string): Promise<Index | undefined> {
    const directory = this.#layout.copy(copy);
    const path = join(directory, COPY_INDEX);
    const [stats, mark] = await Promise.all([
      lstat(path).catch(missing),
      lstat(join(directory, CORRUPT_MARK)).catch(missing),
    ]);
    if (stats === undefined || mark !== undefined || stats.size > INDEX_BYTES) return undefined;
    const version = `${stats.ino} ${stats.ctimeMs} ${stats.size}`;
    const known = this.#known.get(copy);
    if (known?.version === version) return known;
    const text = await readFile(path).catch(missing);
    const index = text && parseCopyIndex(text.toString());
    if (text === undefined || index?.archive !== copy) return undefined;
    const found = {
      version,
      text,
      index,
      files: new Map(index.files.map((file) => [file.sha256, file])),
      shared: new Map(index.shared?.map((one) => [one.pages.sha256, one])),
    };
    this.#known.delete(copy);
    this.#known.set(copy, found);
    const [oldest] = this.#known.keys();
    if (this.#known.size > INDEXES && oldest !== undefined) this.#known.delete(oldest);
    return found;
  }
}

function missing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}

const GONE: ReadonlySet<unknown> = new Set([
  "ERR_STREAM_PREMATURE_CLOSE",
  "ECONNRESET",
  "EPIPE",
  "ERR_STREAM_DESTROYED",
  "ABORT_ERR",
]);
const isGone = (error: unknown): boolean => GONE.has((error as NodeJS.ErrnoException)?.code);
