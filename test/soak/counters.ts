import { randomUUID } from "node:crypto";
import { pushImage } from "../../cluster/images.ts";
import { Redis } from "../../demo/redis.ts";
import type { PodContainer } from "../../src/api/pod.ts";
import { redis, type World } from "../support/world.ts";

/** What a counter says: in which life of its program, and how far it has counted in that. */
export interface Reading {
  /** Made up when the program begins afresh, and kept in its memory alone. */
  life: string;
  count: number;
}

/** An ordinary program that counts in its memory, and says how far over the network. */
export interface Counter {
  /** Short: part of names. */
  readonly name: string;
  container(world: World): Promise<Partial<PodContainer>>;
  /** Has it count on by at least one since it was last asked, and gives where it is now. Errors: no such answer. */
  next(host: string): Promise<Reading>;
}

const PORT = 8080;
const PATIENCE_MS = 4_000;

/** By itself, twice a second. A second process answers for it, from a file that is how its memory is read. */
const shell: Counter = {
  name: "shell",
  container: async (world) => ({
    image: world.cluster.images.busybox,
    command: [
      "/bin/sh",
      "-c",
      `read -r life </proc/sys/kernel/random/uuid
      mkdir -p /tmp/www; httpd -p ${PORT} -h /tmp/www
      i=0
      while :; do
        i=$((i+1)); echo "$life $i" >/tmp/next; mv /tmp/next /tmp/www/index.html; usleep 500000
      done`,
    ],
    readinessProbe: answers(PORT),
  }),
  next: (host) => ask(host, "/index.html"),
};

const python: Counter = {
  name: "python",
  container: async (world) => ({
    image: await pushImage("python", world.cluster.registry.push),
    command: [
      "python3",
      "-c",
      `
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
life, count = os.urandom(16).hex(), 0
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        global count
        count += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{life} {count}".encode())
    def log_message(self, *_):
        pass
HTTPServer(("", ${PORT}), Answer).serve_forever()`,
    ],
    readinessProbe: answers(PORT),
  }),
  next: (host) => ask(host, "/"),
};

const node: Counter = {
  name: "node",
  container: async (world) => ({
    image: await pushImage("node", world.cluster.registry.push),
    command: [
      "node",
      "-e",
      `const life = crypto.randomUUID(); let count = 0;
      require("http").createServer((_, answer) => answer.end(life + " " + ++count)).listen(${PORT})`,
    ],
    // CRIU cannot dump a program that uses it.
    env: [{ name: "UV_USE_IO_URING", value: "0" }],
    readinessProbe: answers(PORT),
  }),
  next: (host) => ask(host, "/"),
};

/** Keeps what it is told: who asks counts. Only one may. */
const java: Counter = {
  name: "java",
  container: async (world) => ({
    image: await pushImage("java", world.cluster.registry.push),
    readinessProbe: { ...answers(PORT), initialDelaySeconds: 1 },
  }),
  async next(host) {
    const life = (await http(host, "/life")) ?? randomUUID();
    const count = Number((await http(host, "/count")) ?? "0") + 1;
    if (count === 1) await http(host, "/life", life);
    await http(host, "/count", `${count}`);
    return { life, count };
  },
};

const redisCounter: Counter = {
  name: "redis",
  container: async (world) => redis(world),
  async next(host) {
    using connection = await Redis.connect(host, { timeoutMs: PATIENCE_MS });
    await connection.command("SETNX", "life", randomUUID());
    const count = Number(await connection.command("INCR", "count"));
    return reading(`${await connection.command("GET", "life")} ${count}`);
  },
};

export const counters = { shell, python, node, java, redis: redisCounter } satisfies Record<string, Counter>;

const answers = (port: number) => ({ tcpSocket: { port }, periodSeconds: 2 });

async function ask(host: string, path: string): Promise<Reading> {
  return reading((await http(host, path)) ?? "");
}

/** A value, asked for or given. A connection of its own each time: one that is kept does not outlive a restore. */
async function http(host: string, path: string, body?: string): Promise<string | undefined> {
  const answer = await fetch(`http://${host}:${PORT}${path}`, {
    method: body === undefined ? "GET" : "PUT",
    headers: { connection: "close" },
    body,
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  const text = await answer.text();
  if (answer.status === 404) return undefined;
  if (!answer.ok) throw new Error(`HTTP ${answer.status}: ${text}`);
  return text;
}

function reading(text: string): Reading {
  const match = /^(\S+) (\d+)\s*$/.exec(text);
  if (match === null) throw new Error(`it says ${JSON.stringify(text)}`);
  return { life: match[1]!, count: Number(match[2]) };
}
