import { buffer } from "node:stream/consumers";
import { KcrError } from "../../api/errors.ts";
import { type Bytes, bufferBytes } from "../../archive/bytes.ts";
import type { Client } from "../../kube/client.ts";
import type { ObjectName } from "../../kube/resources.ts";
import { delay } from "../../kube/signals.ts";
import { BlockCache } from "./blocks.ts";
import { NotNow, PartConnection, type Range } from "./connection.ts";
import { askFor, followed, type Grant, giveBack } from "./grant.ts";

/** The archive of a Checkpoint in a cluster, read in place: nothing comes but what is asked for. To be closed. */
export interface RemoteArchive extends Bytes, AsyncDisposable {
  /** sha256 of all of it, `sha256:<hex>`: what is read in parts cannot be compared with it. */
  readonly digest: string;
  /** Where it lies, for people: "node worker-1". */
  readonly source: string;
  /** All bytes from there on, as they come. A chunk may be kept. */
  stream(from: number): AsyncIterable<Buffer>;
  close(): Promise<void>;
}

/** Tries in a row that bring nothing, and the pauses between them. */
const TRIES = 6;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 4_000;

/**
 * Opens the archive of a Checkpoint, wherever it lies, by a CheckpointDownload that is taken away on closing.
 *
 * Guarantees: a connection that breaks is made anew, and a stream goes on where it was; a token whose time is over is
 * asked for anew, as long as the archive stays the same.
 * Errors: KcrError DownloadForbidden, ArchiveNowhere, DownloadUnavailable, DownloadInterrupted after several tries;
 * ApiError and ConnectionError of what is asked first; the signal's reason.
 */
export async function openRemote(
  client: Client,
  checkpoint: ObjectName,
  signal: AbortSignal,
): Promise<RemoteArchive> {
  const session = await Session.open(client, checkpoint, signal);
  try {
    const head = await session.head();
    const cache = new BlockCache(head.size, async (range) => await session.read(range));
    const name = `checkpoint/${checkpoint.name}`;
    return {
      name,
      digest: session.digest,
      ...head,
      async read(offset, length) {
        // Says what is wrong with a range that reaches past the end.
        if (offset < 0 || length < 0 || offset + length > head.size) {
          return await bufferBytes(name, Buffer.alloc(0)).read(offset, length);
        }
        return await cache.read(offset, length);
      },
      stream: (from) => session.stream({ from, end: head.size }),
      close: () => session.close(),
      [Symbol.asyncDispose]: () => session.close(),
    };
  } catch (error) {
    await session.close();
    throw error;
  }
}

/** One archive, over as many connections and tokens as it takes. */
class Session {
  readonly digest: string;
  readonly #client: Client;
  readonly #checkpoint: ObjectName;
  readonly #signal: AbortSignal;
  #grant: Grant;
  #connection: PartConnection;

  private constructor(client: Client, checkpoint: ObjectName, signal: AbortSignal, grant: Grant) {
    this.#client = client;
    this.#checkpoint = checkpoint;
    this.#signal = signal;
    this.#grant = grant;
    this.#connection = new PartConnection(client, grant);
    this.digest = grant.digest;
  }

  static async open(client: Client, checkpoint: ObjectName, signal: AbortSignal): Promise<Session> {
    return new Session(client, checkpoint, signal, await askFor(client, checkpoint, signal));
  }

  head(): Promise<{ size: number; source: string }> {
    return this.#trying(new Tries(this.#signal), async (connection) => {
      const answer = await connection.get("HEAD", undefined, this.#signal);
      answer.resume();
      const size = Number(answer.headers["content-length"]);
      if (!Number.isSafeInteger(size)) throw new Error("the download part tells no size");
      return { size, source: String(answer.headers["x-kcr-source"] ?? "") };
    });
  }

  /** A part, whole. */
  read(range: Range): Promise<Buffer> {
    return this.#trying(new Tries(this.#signal), async (connection) => {
      const bytes = await buffer(await connection.get("GET", range, this.#signal));
      if (bytes.length === range.end - range.from) return bytes;
      throw new Error("another part than was asked for");
    });
  }

  async *stream({ from, end }: Range): AsyncGenerator<Buffer, void, undefined> {
    const tries = new Tries(this.#signal);
    for (let at = from; at < end; ) {
      const body = await this.#trying(tries, (connection) =>
        connection.get("GET", { from: at, end }, this.#signal),
      );
      const chunks = body[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
      try {
        for (;;) {
          const next = await chunks.next().catch((error: unknown) => ({ error }));
          if ("error" in next) {
            await this.#recover(tries, next.error);
            break;
          }
          if (next.done) break;
          tries.reset();
          at += next.value.length;
          yield next.value;
        }
      } finally {
        // One that was read to its end leaves its connection for the next.
        if (!body.readableEnded) body.destroy();
      }
    }
  }

  async close(): Promise<void> {
    this.#connection[Symbol.dispose]();
    await giveBack(this.#client, this.#grant.name);
  }

  async #trying<T>(tries: Tries, work: (connection: PartConnection) => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await work(this.#connection);
      } catch (error) {
        await this.#recover(tries, error);
      }
    }
  }

  /** Makes ready for another try; `error` where that would not help. */
  async #recover(tries: Tries, error: unknown): Promise<void> {
    this.#signal.throwIfAborted();
    const code = error instanceof KcrError ? error.code : undefined;
    if (code !== undefined && code !== "DownloadEnded") throw error;
    await tries.pause(error);
    const grant = await this.#regrant(code === "DownloadEnded").catch((failed: unknown) => {
      this.#signal.throwIfAborted();
      // The API server may be away for a moment too.
      if (failed instanceof KcrError) throw failed;
      return this.#grant;
    });
    this.#connection[Symbol.dispose]();
    this.#grant = grant;
    this.#connection = new PartConnection(this.#client, grant);
  }

  async #regrant(isOver: boolean): Promise<Grant> {
    if (!isOver) {
      try {
        return await followed(this.#client, this.#grant, this.#signal);
      } catch (error) {
        if (!(error instanceof KcrError) || error.code !== "DownloadEnded") throw error;
      }
    }
    await giveBack(this.#client, this.#grant.name);
    const grant = await askFor(this.#client, this.#checkpoint, this.#signal);
    if (grant.digest === this.digest) return grant;
    await giveBack(this.#client, grant.name);
    throw new KcrError("DownloadDamaged", `Checkpoint ${this.#checkpoint.name} is another one by now`);
  }
}

/** Counts tries that brought nothing, and makes the pauses between them longer and longer. */
class Tries {
  readonly #signal: AbortSignal;
  #failures = 0;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  reset(): void {
    this.#failures = 0;
  }

  /** Errors: DownloadInterrupted when there were enough. */
  async pause(error: unknown): Promise<void> {
    this.#failures += 1;
    if (this.#failures >= TRIES) {
      if (error instanceof KcrError) throw error;
      if (error instanceof NotNow) throw error.told;
      throw new KcrError(
        "DownloadInterrupted",
        `the connection to the download part breaks: ${messageOf(error)}`,
        {
          cause: error,
        },
      );
    }
    await delay(Math.min(FIRST_PAUSE_MS * 2 ** (this.#failures - 1), LONGEST_PAUSE_MS), this.#signal);
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
