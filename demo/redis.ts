import { connect, type Socket } from "node:net";
import { encodeCommand, RedisError, type Reply, ReplyReader } from "./resp.ts";

const PORT = 6379;

export interface ConnectOptions {
  /** How long may pass without a byte from Redis, connecting included. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

/**
 * One connection to a Redis. Errors: those of the socket, a connection that ends too early, silence, RedisError;
 * after any of the first three it is of no use any more.
 */
export class Redis implements Disposable {
  readonly #socket: Socket;
  readonly #reader = new ReplyReader();
  #waiting: { wanted: number; replies: Reply[]; resolve(replies: Reply[]): void } | undefined;
  #failed = Promise.withResolvers<never>();

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#failed.promise.catch(() => {});
    const fail = (error: Error) => {
      socket.destroy();
      this.#failed.reject(error);
    };
    socket.on("error", fail);
    socket.on("timeout", () => fail(new Error("Redis does not answer")));
    socket.on("close", () => fail(new Error("Redis closed the connection")));
    socket.on("data", (piece) => {
      try {
        this.#take(this.#reader.push(piece as Buffer));
      } catch (error) {
        fail(error as Error);
      }
    });
  }

  static async connect(host: string, { timeoutMs = 5_000, signal }: ConnectOptions = {}): Promise<Redis> {
    signal?.throwIfAborted();
    const redis = new Redis(connect({ host, port: PORT, timeout: timeoutMs, noDelay: true }));
    const connected = new Promise<void>((resolve) => redis.#socket.once("connect", resolve));
    await Promise.race([connected, redis.#failed.promise]);
    return redis;
  }

  /** Sends commands in one go and gives their replies, in order; errors among them are replies. */
  async pipeline(commands: readonly (readonly string[])[]): Promise<Reply[]> {
    if (commands.length === 0) return [];
    const answered = new Promise<Reply[]>((resolve) => {
      this.#waiting = { wanted: commands.length, replies: [], resolve };
    });
    this.#socket.write(commands.map(encodeCommand).join(""));
    return await Promise.race([answered, this.#failed.promise]);
  }

  /** Errors: RedisError too. */
  async command(...parts: string[]): Promise<Reply> {
    const [reply] = await this.pipeline([parts]);
    if (reply instanceof RedisError) throw reply;
    return reply ?? null;
  }

  /** How many keys there are. */
  async size(): Promise<number> {
    return Number(await this.command("DBSIZE"));
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #take(replies: readonly Reply[]): void {
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    waiting.replies.push(...replies);
    if (waiting.replies.length < waiting.wanted) return;
    this.#waiting = undefined;
    waiting.resolve(waiting.replies);
  }
}
