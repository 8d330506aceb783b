import { createServer, type Server } from "node:http";
import type { Registry } from "prom-client";

/** Serves /healthz (the process answers), /readyz (its caches are synced) and /metrics. */
export function serveHealth(options: {
  port: number;
  ready: () => boolean;
  metrics: Registry;
}): Promise<Server> {
  const { port, ready, metrics } = options;
  const answer = async (path: string | undefined): Promise<[status: number, body: string]> => {
    switch (path) {
      case "/healthz":
        return [200, "ok\n"];
      case "/readyz":
        return ready() ? [200, "ok\n"] : [503, "not ready\n"];
      case "/metrics":
        return [200, await metrics.metrics()];
      default:
        return [404, "not found\n"];
    }
  };
  const server = createServer((request, response) => {
    answer(request.url).then(
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
