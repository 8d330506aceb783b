import type { IncomingMessage } from "node:http";
import { Agent, request } from "node:https";
import { COPY_VERSION, type CopyIndex, parseCopyIndex } from "../store/copy.ts";
import { laterProtocolIn, ofLaterProtocol } from "../store/protocol.ts";
import { TransferError, type TransferErrorCode } from "./errors.ts";
import { checkNode, type Identity, TLS_OPTIONS } from "./identity.ts";
import { Part, type Wanted } from "./part.ts";
import {
  type Asked,
  contentRangeOf,
  INDEX_BYTES,
  pathOf,
  type Range,
  RETRY_AFTER_SECONDS,
  rangeOf,
} from "./protocol.ts";
import { realClock, type Throttle } from "./throttle.ts";

/** All times in milliseconds. */
export interface Limits {
  /** Tries in a row that bring nothing. */
  attempts: number;
  /** Tries in a row that are answered with "busy". */
  busyAttempts: number;
  /** How often one file may arrive whole and wrong. */
  damagedFiles: number;
  /** The first pause between two tries; it doubles each time. */
  retryDelayMs: number;
  maxRetryDelayMs: number;
  /** How long a peer that is busy is left alone. */
  busyDelayMs: number;
  /** Longest time without a byte moving. There is no limit on the whole. */
  idleTimeoutMs: number;
}

export const DEFAULT_LIMITS: Limits = {
  attempts: 5,
  busyAttempts: 60,
  damagedFiles: 2,
  retryDelayMs: 200,
  maxRetryDelayMs: 5_000,
  busyDelayMs: RETRY_AFTER_SECONDS * 1000,
  idleTimeoutMs: 30_000,
};

export interface PeerOptions {
  /** Whose certificate is expected. */
  node: string;
  host: string;
  port: number;
  /** What is shown; asked for with every connection, for it changes. */
  identity(): Identity;
  throttle: Throttle;
  /** Most connections at once; 1 unless said. */
  connections?: number;
  limits?: Partial<Limits>;
  /** Bytes of files that have come. */
  onReceived?(bytes: number): void;
}

/**
 * Another node that hands out copies: connections that are used for one file after another. `close()` it at the end.
 *
 * Guarantees: a connection that breaks is made anew, and a file gone on with where it stopped, for as long as every
 * few tries bring at least a byte.
 * Errors: TransferError from every method, the signal's reason when aborted.
 */
export class Peer implements Disposable {
  readonly #options: PeerOptions;
  readonly #limits: Limits;
  readonly #agent: Agent;

  constructor(options: PeerOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#agent = new Agent({
      keepAlive: true,
      maxSockets: options.connections ?? 1,
      // The peer is known by its node's name, not by an address.
      servername: "",
      // Not with each request: Node would not use a connection twice then.
      checkServerIdentity: checkNode(options.node),
    });
  }

  /** A copy's index as the peer has it: whether it is the right one is for the caller to find out. */
  async index(copy: string, signal: AbortSignal): Promise<CopyIndex> {
    const tries = new Tries(this.#limits, signal);
    for (;;) {
      try {
        const text = (await this.#text({ copy }, signal)).toString();
        const index = parseCopyIndex(text);
        if (index?.archive === copy) return index;
        const later = laterProtocolIn(text, COPY_VERSION);
        if (later !== undefined) {
          const what = `${this.#name}: the index of copy ${copy}`;
          throw new TransferError("version", ofLaterProtocol(what, later, COPY_VERSION));
        }
        throw new TransferError("protocol", `${this.#name}: what it sends is no index of copy ${copy}`);
      } catch (error) {
        await tries.pause(error);
      }
    }
  }

  /**
   * Has the file of that content at `path`, going on from what is there.
   *
   * Guarantees: on return the content is the wanted one, and on disk. Otherwise what came stays for another try, if
   * it is not known to be wrong.
   * Errors: those of the file system too.
   */
  async fetch(copy: string, wanted: Wanted, path: string, signal: AbortSignal): Promise<void> {
    const asked: Asked = { copy, file: wanted.sha256 };
    await using part = await Part.open(path, wanted);
    const tries = new Tries(this.#limits, signal);
    // Of what was there from before nobody knows where it came from.
    let damaged = part.have > 0 ? -1 : 0;
    for (;;) {
      const before = part.have;
      try {
        if (part.have < wanted.size) {
          await part.append(this.#content(asked, { from: part.have, end: wanted.size }, wanted.size, signal));
        }
      } catch (error) {
        if (part.have > before) tries.reset();
        await tries.pause(error);
        continue;
      }
      if (await part.seal(signal)) return;
      damaged += 1;
      if (damaged >= this.#limits.damagedFiles) {
        throw new TransferError("damaged", `${this.#name}: its file ${wanted.sha256} has another content`);
      }
    }
  }

  /** Says that what came of a copy is not what it should be, so that the peer looks at it. */
  async doubt(copy: string, signal: AbortSignal): Promise<void> {
    const response = await this.#ask({ copy }, signal, { method: "POST" });
    // None has any content: its connection is free for the next.
    response.on("error", () => {}).resume();
  }

  /**
   * A part of the file of that content, as it comes: whether it has that content is for the caller to find out. A
   * chunk may be kept.
   */
  async *read(
    copy: string,
    { sha256, size }: Wanted,
    { from, end }: Range,
    signal: AbortSignal,
  ): AsyncGenerator<Buffer, void, undefined> {
    const tries = new Tries(this.#limits, signal);
    for (let at = from; at < end; ) {
      try {
        for await (const chunk of this.#content({ copy, file: sha256 }, { from: at, end }, size, signal)) {
          tries.reset();
          at += chunk.length;
          yield chunk;
        }
      } catch (error) {
        await tries.pause(error);
      }
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  get #name(): string {
    const { node, host, port } = this.#options;
    return `node ${node} (${host}:${port})`;
  }

  async *#content(asked: Asked, wanted: Range, size: number, signal: AbortSignal): AsyncGenerator<Buffer> {
    const { throttle, onReceived } = this.#options;
    const isPart = wanted.from > 0 || wanted.end < size;
    const response = await this.#ask(asked, signal, {
      headers: isPart ? { range: rangeOf(wanted) } : {},
    });
    const { statusCode, headers } = response;
    const isRight =
      statusCode === (isPart ? 206 : 200) &&
      headers["content-length"] === `${wanted.end - wanted.from}` &&
      headers["content-range"] === (isPart ? contentRangeOf(wanted, size) : undefined);
    if (!isRight) {
      response.destroy();
      throw new TransferError("protocol", `${this.#name}: not the file that was asked for`);
    }
    for await (const chunk of this.#reading(response)) {
      onReceived?.(chunk.length);
      await throttle.take(chunk.length, signal);
      yield chunk;
    }
  }

  async #text(asked: Asked, signal: AbortSignal): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let left = INDEX_BYTES;
    for await (const chunk of this.#reading(await this.#ask(asked, signal))) {
      left -= chunk.length;
      if (left < 0)
        throw new TransferError("protocol", `${this.#name}: an index of over ${INDEX_BYTES} bytes`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }

  async *#reading(response: IncomingMessage): AsyncGenerator<Buffer> {
    const chunks = response[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    try {
      for (;;) {
        const next = await chunks.next().catch((cause: unknown) => {
          throw this.#unreachable(cause);
        });
        if (next.done) return;
        yield next.value;
      }
    } finally {
      // One that was read to its end leaves its connection for the next.
      if (!response.readableEnded) response.destroy();
    }
  }

  /** An answer that is success. */
  #ask(
    asked: Asked,
    signal: AbortSignal,
    { method = "GET", headers = {} }: { method?: "GET" | "POST"; headers?: Record<string, string> } = {},
  ): Promise<IncomingMessage> {
    const { host, port, identity } = this.#options;
    const { idleTimeoutMs } = this.#limits;
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const sent = request({
      ...TLS_OPTIONS,
      ...identity(),
      agent: this.#agent,
      host,
      port,
      method,
      path: pathOf(asked),
      headers,
      signal,
      timeout: idleTimeoutMs,
    });
    sent.once("timeout", () => sent.destroy(new Error(`no byte moved for ${idleTimeoutMs} ms`)));
    sent.on("error", (cause) => reject(this.#unreachable(cause)));
    sent.once("response", (response) => {
      const { statusCode = 0 } = response;
      if (SUCCESS.has(statusCode)) return resolve(response);
      response.on("error", () => {}).resume();
      const code = CODES[statusCode] ?? "protocol";
      reject(new TransferError(code, `${this.#name} answers ${statusCode} for copy ${asked.copy}`));
    });
    sent.end();
    return promise;
  }

  #unreachable(cause: unknown): TransferError {
    const { message } = cause as Error;
    return new TransferError("unreachable", `${this.#name}: ${message}`, { cause });
  }
}

const SUCCESS: ReadonlySet<number> = new Set([200, 202, 206]);
const CODES: Record<number, TransferErrorCode> = {
  403: "refused",
  404: "missing",
  501: "version",
  503: "busy",
};

/** Counts tries that brought nothing, and makes the pauses between them longer and longer. */
class Tries {
  readonly #limits: Limits;
  readonly #signal: AbortSignal;
  #failures = 0;
  #busy = 0;

  constructor(limits: Limits, signal: AbortSignal) {
    this.#limits = limits;
    this.#signal = signal;
  }

  reset(): void {
    this.#failures = 0;
    this.#busy = 0;
  }

  /** Pauses before the next try. Errors: `error` itself when there is none, the signal's reason when aborted. */
  async pause(error: unknown): Promise<void> {
    this.#signal.throwIfAborted();
    const code = error instanceof TransferError ? error.code : undefined;
    const { attempts, busyAttempts, busyDelayMs, retryDelayMs, maxRetryDelayMs } = this.#limits;
    if (code === "busy") {
      this.#busy += 1;
      if (this.#busy >= busyAttempts) throw error;
      return await realClock.sleep(busyDelayMs, this.#signal);
    }
    if (code !== "unreachable") throw error;
    this.#failures += 1;
    if (this.#failures >= attempts) throw error;
    const milliseconds = Math.min(retryDelayMs * 2 ** (this.#failures - 1), maxRetryDelayMs);
    // Between half and all of it, so that many do not come back at one instant.
    await realClock.sleep(milliseconds * (0.5 + Math.random() / 2), this.#signal);
  }
}
