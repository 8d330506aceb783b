import { getEventListeners } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { waitFor } from "../../test/support/wait-for.ts";
import { Client, objectPath } from "./client.ts";
import { ApiError, ConnectionError, isNotFound } from "./errors.ts";
import { configMaps, nodes, pods } from "./resources.ts";
import { retryAfter } from "./transport.ts";

const cleanups: Array<() => Promise<unknown>> = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

async function listen(handler: RequestListener): Promise<Server> {
  const server = createServer(handler).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  cleanups.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return server;
}

/** A client of a plain server that answers what the test wants; `user` is who the kubeconfig file says it is. */
async function clientOf(handler: RequestListener, user: object = { token: "old" }) {
  const server = await listen(handler);
  const dir = await mkdtemp(join(tmpdir(), "kube-client-"));
  cleanups.push(() => rm(dir, { recursive: true }));
  const file = join(dir, "config");
  const write = (user: object) =>
    writeFile(
      file,
      JSON.stringify({
        clusters: [
          {
            name: "c",
            cluster: {
              server: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
              "insecure-skip-tls-verify": true,
            },
          },
        ],
        users: [{ name: "u", user }],
        contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
        "current-context": "x",
      }),
    );
  await write(user);
  const client = Client.fromConfig({ kubeconfig: file });
  cleanups.push(async () => client.close());
  return { client, rotate: write };
}

const name = { namespace: "ns", name: "a" };
const status = (code: number, reason: string) =>
  JSON.stringify({ kind: "Status", code, reason, message: `it is ${reason}` });

test("an error says what was asked, what was answered, and what kind of error it is", async () => {
  const { client } = await clientOf((_, answer) => answer.writeHead(404).end(status(404, "NotFound")));
  const error = await client.get(configMaps, name).catch((error: unknown) => error);
  expect(isNotFound(error)).toBe(true);
  expect((error as Error).message).toBe("GET /api/v1/namespaces/ns/configmaps/a: it is NotFound (404)");
});

test("an answer that is not the API server's is quoted, not parsed", async () => {
  const { client } = await clientOf((_, answer) => answer.writeHead(502).end("<h1>bad gateway</h1>"));
  await expect(client.get(configMaps, name)).rejects.toThrow("<h1>bad gateway</h1> (502)");
});

test("a busy server (429, Retry-After) is asked again after that time", async () => {
  let asked = 0;
  const { client } = await clientOf((_, answer) => {
    if (asked++ === 0) answer.writeHead(429, { "retry-after": "1" }).end(status(429, "TooManyRequests"));
    else answer.end("{}");
  });
  const started = performance.now();
  await client.create(configMaps, { metadata: name });
  expect(asked).toBe(2);
  expect(performance.now() - started).toBeGreaterThan(990);
});

test("a busy server does not make a request outlive its timeout, and the error says how long to wait", async () => {
  const { client } = await clientOf((_, answer) => answer.writeHead(429, { "retry-after": "60" }).end());
  const error = await client.get(configMaps, name, { timeoutMs: 5_000 }).catch((error: unknown) => error);
  expect(error).toBeInstanceOf(ApiError);
  expect((error as ApiError).retryAfterSeconds).toBe(60);
});

test("a write that failed is not sent a second time", async () => {
  let asked = 0;
  const { client } = await clientOf((request) => {
    asked++;
    request.socket.destroy();
  });
  await expect(client.create(configMaps, { metadata: name })).rejects.toThrow(ConnectionError);
  expect(asked).toBe(1);
});

test("a server that never answers, or never ends its answer, is given up in time", async () => {
  const { client } = await clientOf((request, answer) => {
    if (request.url?.endsWith("b")) answer.write('{"half":');
  });
  for (const one of ["a", "b"]) {
    const asked = client.get(configMaps, { namespace: "ns", name: one }, { timeoutMs: 200 });
    await expect(asked).rejects.toThrow("no whole answer within 200 ms");
  }
});

test("an answer that is cut off is an error", async () => {
  const { client } = await clientOf((_, answer) => {
    answer.write('{"half":');
    setImmediate(() => answer.destroy());
  });
  await expect(client.get(configMaps, name)).rejects.toThrow(ConnectionError);
});

test("a rotated token is read anew when the old one is refused", async () => {
  const seen: string[] = [];
  const { client, rotate } = await clientOf((request, answer) => {
    seen.push(request.headers.authorization ?? "");
    if (request.headers.authorization === "Bearer new") answer.end("{}");
    else answer.writeHead(401).end(status(401, "Unauthorized"));
  });
  await rotate({ token: "new" });
  await client.get(configMaps, name);
  expect(seen).toEqual(["Bearer old", "Bearer new"]);
});

test("a token that stays refused is not tried for ever", async () => {
  let asked = 0;
  const { client } = await clientOf((_, answer) => {
    asked++;
    answer.writeHead(401).end(status(401, "Unauthorized"));
  });
  await expect(client.get(configMaps, name)).rejects.toThrow("(401)");
  expect(asked).toBe(2);
});

test("an aborted request ends with the caller's own reason and leaves nothing on the signal", async () => {
  const { client } = await clientOf((request, answer) => {
    if (request.url?.endsWith("b")) answer.end("{}");
  });
  const stop = new AbortController();
  await client.get(configMaps, { namespace: "ns", name: "b" }, { signal: stop.signal });
  const asked = client.get(configMaps, name, { signal: stop.signal });
  stop.abort(new Error("enough"));
  await expect(asked).rejects.toThrow("enough");
  expect(getEventListeners(stop.signal, "abort")).toHaveLength(0);
});

test("a stream that is disposed closes its connection", async () => {
  const server = Promise.withResolvers<Server>();
  const { client } = await clientOf((request, answer) => {
    server.resolve((request.socket as unknown as { server: Server }).server);
    answer.write("first\n");
  });
  {
    using stream = await client.stream("/watch");
    const first = await stream.chunks[Symbol.asyncIterator]().next();
    expect(first.value?.toString()).toBe("first\n");
  }
  const open = async () =>
    new Promise<number>((resolve, reject) => {
      void server.promise.then((each) =>
        each.getConnections((error, count) => (error ? reject(error) : resolve(count))),
      );
    });
  await waitFor("the connection to be closed", async () => (await open()) === 0, {
    timeoutMs: 5_000,
    intervalMs: 10,
  });
});

test("an object's fields that no type knows are sent as they are", async () => {
  let body = "";
  const { client } = await clientOf(async (request, answer) => {
    for await (const chunk of request) body += chunk;
    answer.end(body);
  });
  const odd = { metadata: { ...name, resourceVersion: "1" }, data: { a: "b" }, fromTheFuture: { deep: [1] } };
  expect(await client.replace(configMaps, odd)).toMatchObject(odd);
  expect(JSON.parse(body)).toEqual({ apiVersion: "v1", kind: "ConfigMap", ...odd });
});

test("names that would lead to another path are refused before anything is sent", () => {
  for (const evil of ["", ".", "..", "a/b", "../secrets/x"]) {
    expect(() => objectPath(pods, { namespace: "ns", name: evil })).toThrow(TypeError);
    expect(() => objectPath(nodes, { name: evil })).toThrow(TypeError);
  }
  expect(() => objectPath(pods, { namespace: "..", name: "a" })).toThrow(TypeError);
  expect(() => objectPath(pods, { name: "a" })).toThrow("needs a namespace");
  expect(objectPath(nodes, { name: "a?b#c%2e" })).toBe("/api/v1/nodes/a%3Fb%23c%252e");
});

test("Retry-After comes as seconds or as a date", () => {
  const now = Date.parse("2030-01-01T00:00:00Z");
  expect(retryAfter("7", now)).toBe(7);
  expect(retryAfter("Tue, 01 Jan 2030 00:00:05 GMT", now)).toBe(5);
  expect(retryAfter("Mon, 31 Dec 2029 00:00:00 GMT", now)).toBe(0);
  expect(retryAfter("soon", now)).toBeUndefined();
  expect(retryAfter(undefined, now)).toBeUndefined();
});

test("a credential plugin that hangs does not make a request hang", async () => {
  const user = { exec: { apiVersion: "client.authentication.k8s.io/v1", command: "sleep", args: ["5"] } };
  const { client } = await clientOf((_, answer) => answer.end("{}"), user);
  await expect(client.get(configMaps, name, { timeoutMs: 200 })).rejects.toThrow(
    "no whole answer within 200 ms",
  );
});
