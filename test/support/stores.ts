import { request } from "node:http";
import { connect } from "node:net";
import { type ImageName, pushImage } from "../../cluster/images.ts";
import type { Pod } from "../../src/kube/resources.ts";
import { waitFor } from "./wait-for.ts";
import { redis, redisCommand, type World } from "./world.ts";

type Container = NonNullable<Pod["spec"]>["containers"][number];

/** A program that keeps pairs of key and value in its memory, and answers over the network. */
export interface Store {
  readonly name: string;
  container(world: World): Promise<Partial<Container>>;
  put(host: string, key: string, value: string): Promise<void>;
  get(host: string, key: string): Promise<string | undefined>;
  /** How many keys it has. */
  count(host: string): Promise<number>;
}

export const redisStore: Store = {
  name: "Redis",
  container: async (world) => redis(world),
  async put(host, key, value) {
    await redisCommand(host, `SET ${key} ${value}`);
  },
  async get(host, key) {
    const [length, value] = (await redisCommand(host, `GET ${key}`)).split("\r\n");
    return length === "$-1" ? undefined : value;
  },
  async count(host) {
    return Number((await redisCommand(host, "DBSIZE")).slice(1));
  },
};

const memcached: Store = {
  name: "memcached",
  async container(world) {
    return {
      image: await pushImage("memcached", world.cluster.registry.push),
      readinessProbe: { tcpSocket: { port: 11211 }, periodSeconds: 1 },
    };
  },
  async put(host, key, value) {
    const said = await memcachedCommand(host, `set ${key} 0 0 ${value.length}\r\n${value}`, /^STORED/);
    if (!said.startsWith("STORED")) throw new Error(said);
  },
  async get(host, key) {
    return /^VALUE .*\r\n(.*)\r\n/.exec(await memcachedCommand(host, `get ${key}`, /END\r\n$/))?.[1];
  },
  async count(host) {
    const said = await memcachedCommand(host, "stats", /END\r\n$/);
    return Number(/STAT curr_items (\d+)/.exec(said)?.[1]);
  },
};

/** One command to a memcached: all it says until `end`. */
function memcachedCommand(host: string, command: string, end: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: 11211, timeout: 2000 });
    let said = "";
    socket.once("connect", () => socket.write(`${command}\r\n`));
    socket.on("data", (chunk) => {
      said += chunk.toString();
      if (!end.test(said)) return;
      socket.destroy();
      resolve(said);
    });
    socket.once("timeout", () => socket.destroy(new Error("no answer")));
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("closed without an answer")));
  });
}

/** A server of the protocol of cluster/programs.ts. */
function overHttp(name: string, image: ImageName, more: Partial<Container> = {}): Store {
  return {
    name,
    async container(world) {
      return {
        image: await pushImage(image, world.cluster.registry.push),
        readinessProbe: { httpGet: { port: 8080, path: "/" }, periodSeconds: 1 },
        ...more,
      };
    },
    async put(host, key, value) {
      await http(host, "PUT", key, value);
    },
    async get(host, key) {
      return await http(host, "GET", key);
    },
    async count(host) {
      return Number(await http(host, "GET", ""));
    },
  };
}

/** One request on a connection of its own: its answer's body, undefined for 404. */
function http(host: string, method: string, key: string, body?: string): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const options = { host, port: 8080, method, path: `/${key}`, agent: false, timeout: 2000 };
    const sent = request(options, async (response) => {
      try {
        const chunks = await Array.fromAsync(response as AsyncIterable<Buffer>);
        const { statusCode = 0 } = response;
        if (statusCode < 300) resolve(Buffer.concat(chunks).toString());
        else if (statusCode === 404) resolve(undefined);
        else reject(new Error(`HTTP status ${statusCode}`));
      } catch (error) {
        reject(error);
      }
    });
    sent.once("timeout", () => sent.destroy(new Error("no answer")));
    sent.once("error", reject);
    sent.end(body);
  });
}

export const stores: readonly Store[] = [
  redisStore,
  overHttp("a JVM", "java"),
  overHttp("Python with SQLite", "python"),
  // Where it may, Node uses io_uring, with which CRIU cannot dump it; the usual profile does not let it.
  overHttp("Node", "node", { securityContext: { seccompProfile: { type: "RuntimeDefault" } } }),
  memcached,
];

/** Puts keys `<stem>-0`, `<stem>-1`, ... in a store. */
export async function fill(store: Store, host: string, stem: string, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await store.put(host, `${stem}-${i}`, valueFor(`${stem}-${i}`));
}

/** The value that `fill` gives a key. */
export const valueFor = (key: string): string => `value-of-${key}`;

/** Keeps asking a store how many keys it has. */
export class Watch {
  /** What it has answered, in order, each change once. */
  readonly answers: number[] = [];
  #over = false;
  readonly #ended: Promise<unknown>;

  constructor(store: Store, host: string) {
    const ask = async () => {
      const count = await store.count(host).catch(() => undefined);
      if (count !== undefined && count !== this.answers.at(-1)) this.answers.push(count);
      return this.#over;
    };
    const name = `the look at ${store.name} to end`;
    this.#ended = waitFor(name, ask, { intervalMs: 5, timeoutMs: 600_000 });
    this.#ended.catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true;
    await this.#ended;
  }
}
