import { createServer, type Server } from "node:http";

/** Serves /healthz (the process answers) and /readyz (its caches are synced) on all addresses of the pod. */
export function serveHealth({ port, ready }: { port: number; ready: () => boolean }): Promise<Server> {
  const server = createServer((request, response) => {
    const ok = request.url === "/healthz" || (request.url === "/readyz" && ready());
    const known = request.url === "/healthz" || request.url === "/readyz";
    response.writeHead(ok ? 200 : known ? 503 : 404, { "content-type": "text/plain" });
    response.end(ok ? "ok\n" : "not ready\n");
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, () => resolve(server));
  });
}
