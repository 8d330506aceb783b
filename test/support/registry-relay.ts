import { once } from "node:events";
import { createServer, type IncomingMessage, request as send } from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream/promises";
import { delay } from "../../src/kube/signals.ts";

/** A relay in front of a registry over plain HTTP, which can do what a bad one does. */
export interface RegistryRelay extends AsyncDisposable {
  /** "<host>:<port>". */
  readonly address: string;
  /** Requests that were answered so far, as `<method> <path>`. */
  readonly answered: string[];
  /** Uploads that bytes come for now. */
  uploading: number;
  /** How fast bytes of one upload go up; undefined: as fast as they come. */
  bytesPerSecond: number | undefined;
  /** Called before a request is passed on, and before its answer is. */
  before: (request: IncomingMessage) => Promise<void>;
  after: (request: IncomingMessage) => Promise<void>;
}

export async function startRegistryRelay(target: { port: number }): Promise<RegistryRelay> {
  const server = createServer(async (request, response) => {
    const { method = "", url = "", headers } = request;
    if (method === "PATCH") relay.uploading += 1;
    try {
      await relay.before(request);
      const up = send({ host: "127.0.0.1", port: target.port, method, path: url, headers });
      const answer = once(up, "response") as Promise<[IncomingMessage]>;
      // Whoever waits for it hears of it, after the body.
      answer.catch(() => {});
      await pipeline(request, (chunks: AsyncIterable<Buffer>) => slowly(chunks, relay), up);
      const [from] = await answer;
      await relay.after(request);
      relay.answered.push(`${method} ${url}`);
      response.writeHead(from.statusCode ?? 502, from.headers);
      await pipeline(from, response);
    } catch {
      // One end has gone: the other hears of it so.
      response.destroy();
    } finally {
      if (method === "PATCH") relay.uploading -= 1;
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const relay: RegistryRelay = {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    answered: [],
    uploading: 0,
    bytesPerSecond: undefined,
    before: async () => {},
    after: async () => {},
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return relay;
}

async function* slowly(
  chunks: AsyncIterable<Buffer>,
  relay: { bytesPerSecond: number | undefined },
): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) {
    yield chunk;
    if (relay.bytesPerSecond !== undefined) await delay((chunk.length / relay.bytesPerSecond) * 1000);
  }
}
