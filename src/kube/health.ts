import { createServer, type IncomingMessage, type Server } from "node:http";
import type { Registry } from "prom-client";

/** A logger whose level may be changed; one of pino's is. */
export interface Leveled {
  level: string;
  readonly levels: { readonly values: Readonly<Record<string, number>> };
}

export interface HealthOptions {
  port: number;
  /** Whether the program has what it needs to work. */
  ready: () => boolean;
  /** Whether the program still works. One that hangs does not even answer. */
  alive: () => boolean;
  metrics: Registry;
  /** Whose level may be read and set. */
  log: Leveled;
}

type Answer = [status: number, body: string];

/**
 * Serves /healthz (it works), /readyz (its caches are synced), /metrics and, to whoever comes from the same host or
 * pod alone, /loglevel: GET says it, PUT with a level for a body sets it until the program ends.
 */
export function serveHealth(options: HealthOptions): Promise<Server> {
  const { port, ready, alive, metrics } = options;
  const answer = async (request: IncomingMessage): Promise<Answer> => {
    switch (request.url) {
      case "/healthz":
        return alive() ? [200, "ok\n"] : [503, "a watch has died\n"];
      case "/readyz":
        return ready() ? [200, "ok\n"] : [503, "not ready\n"];
      case "/metrics":
        return [200, await metrics.metrics()];
      case "/loglevel":
        return isLocal(request) ? await levelOf(options.log, request) : [403, "from loopback only\n"];
      default:
        return [404, "not found\n"];
    }
  };
  const server = createServer((request, response) => {
    answer(request).then(
      ([status, body]) =>
        response.writeHead(status, { "content-type": "text/plain; version=0.0.4" }).end(body),
      (error: Error) => response.writeHead(500).end(`${error.message}\n`),
    );
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, () => resolve(server));
  });
}

/** Longer than any level's name. */
const MAX_LEVEL = 32;

async function levelOf(log: Leveled, request: IncomingMessage): Promise<Answer> {
  if (request.method === "GET") return [200, `${log.level}\n`];
  if (request.method !== "PUT") return [405, "GET or PUT\n"];
  let body = "";
  for await (const chunk of request.setEncoding("utf8")) {
    body += chunk;
    if (body.length > MAX_LEVEL) break;
  }
  const wanted = body.trim();
  const known = Object.keys(log.levels.values);
  if (!known.includes(wanted)) return [400, `one of ${known.join(", ")}\n`];
  log.level = wanted;
  return [200, `${wanted}\n`];
}

/** By the connection, not by what a header says. A port that is forwarded into a pod comes from its loopback too. */
const isLocal = ({ socket: { remoteAddress = "" } }: IncomingMessage): boolean =>
  remoteAddress === "::1" || /^(::ffff:)?127\./.test(remoteAddress);
