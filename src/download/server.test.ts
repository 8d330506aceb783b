import { randomBytes } from "node:crypto";
import { type IncomingMessage, request } from "node:http";
import { networkInterfaces } from "node:os";
import { buffer } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { waitFor } from "../../test/support/wait-for.ts";
import type { Checkpoint } from "../api/checkpoint.ts";
import { downloadPath } from "../api/download.ts";
import { KcrError } from "../api/errors.ts";
import { createToken } from "../api/sealed-token.ts";
import { orAborted } from "../kube/signals.ts";
import { TransferError } from "../transfer/errors.ts";
import type { Archive } from "./archive.ts";
import type { Grant } from "./grants.ts";
import { type DownloadServer, type ServerOptions, serveDownloads } from "./server.ts";

const content = randomBytes(3_000_000);
const token = createToken();
const checkpoint = { metadata: { name: "web-1" }, status: { digest: "sha256:aa" } } as Checkpoint;
const path = downloadPath("shop", "d");
const archive: Archive = {
  from: "node a",
  size: content.length,
  async *read({ from, end }) {
    for (let at = from; at < end; at += 100_000) yield content.subarray(at, Math.min(at + 100_000, end));
  },
  async [Symbol.asyncDispose]() {},
};

let server: DownloadServer;
let errors: unknown[];
let asked: string[];
let answers: number[];
const serve = async (options: Partial<ServerOptions> = {}): Promise<void> => {
  [errors, asked, answers] = [[], [], []];
  server = await serveDownloads({
    port: 0,
    now: Date.now,
    async grant({ namespace, name }, given): Promise<Grant | undefined> {
      asked.push(`${namespace}/${name}`);
      return given === token && name === "d"
        ? { uid: name, checkpoint, until: Date.now() + 60_000 }
        : undefined;
    },
    read: (_, __, use) => use(archive),
    onAnswered: ({ status }) => answers.push(status),
    onError: (error) => errors.push(error),
    ...options,
  });
};
beforeEach(() => serve());
afterEach(() => server.close());

interface Shown {
  path?: string;
  method?: string;
  authorization?: string | undefined;
  range?: string;
  host?: string;
}
const ask = ({ host = "127.0.0.1", method = "GET", ...shown }: Shown = {}) =>
  new Promise<IncomingMessage>((resolve, reject) => {
    const authorization = "authorization" in shown ? shown.authorization : `Bearer ${token}`;
    request({
      host,
      port: server.port,
      path: shown.path ?? path,
      method,
      agent: false,
      headers: { ...(authorization && { authorization }), ...(shown.range && { range: shown.range }) },
    })
      .on("response", resolve)
      .on("error", reject)
      .end();
  });

describe("who shows the token", () => {
  test("has the archive, and what it is", async () => {
    const answer = await ask();
    expect(answer.statusCode).toBe(200);
    expect(answer.headers).toMatchObject({
      etag: '"sha256:aa"',
      "accept-ranges": "bytes",
      "x-kcr-source": "node a",
      "content-length": `${content.length}`,
    });
    expect(content.equals(await buffer(answer))).toBe(true);
    const head = await ask({ method: "HEAD" });
    expect(head.headers["content-length"]).toBe(`${content.length}`);
    expect((await buffer(head)).length).toBe(0);
    await waitFor("both to be told", () => answers.length === 2);
  });

  test.each([
    ["bytes=0-0", 0, 1],
    ["bytes=1000000-1999999", 1_000_000, 2_000_000],
    ["bytes=2999999-", 2_999_999, 3_000_000],
    ["bytes=2000000-9999999", 2_000_000, 3_000_000],
  ])("has a part of it: %s", async (range, from, end) => {
    const answer = await ask({ range });
    expect(answer.statusCode).toBe(206);
    expect(answer.headers["content-range"]).toBe(`bytes ${from}-${end - 1}/${content.length}`);
    expect(content.subarray(from, end).equals(await buffer(answer))).toBe(true);
  });

  test.each(["bytes=3000001-", "bytes=5-4", "bytes=0-1,5-6", "lines=1-2"])(
    "has no such part: %s",
    async (range) => {
      const answer = await ask({ range });
      expect(answer.statusCode).toBe(416);
      expect(answer.headers["content-range"]).toBe(`bytes */${content.length}`);
      expect((await buffer(answer)).length).toBe(0);
    },
  );

  test("is told why there is nothing, and to come again where another try may work", async () => {
    for (const [error, status, code] of [
      [new KcrError("ArchiveNowhere", "it is gone"), 404, "ArchiveNowhere"],
      [
        new KcrError("ArchiveNowhere", "it is away", {
          cause: new TransferError("unreachable", "no answer"),
        }),
        503,
        "ArchiveNowhere",
      ],
      [new Error("secret words"), 503, "DownloadUnavailable"],
    ] as const) {
      await server.close();
      await serve({ read: () => Promise.reject(error) });
      const answer = await ask();
      expect(answer.statusCode).toBe(status);
      const text = (await buffer(answer)).toString();
      expect(JSON.parse(text)).toMatchObject({ code });
      expect(text).not.toContain("secret words");
      expect(errors).toEqual([error]);
    }
  });

  test("is cut off when the token's time is over, in the middle too", async () => {
    await server.close();
    const { promise: never } = Promise.withResolvers<void>();
    const endless: Archive = {
      ...archive,
      async *read() {
        yield content.subarray(0, 1000);
        await never;
      },
    };
    let time = 0;
    await serve({
      now: () => time,
      grant: async () => ({ uid: "d", checkpoint, until: 200 }),
      read: (_, signal, use) =>
        Promise.race([
          use(endless),
          new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
        ]),
    });
    const answer = await ask();
    expect(answer.statusCode).toBe(200);
    await expect(buffer(answer)).rejects.toThrow("aborted");
    time = 1000;
    expect(errors).toEqual([]);
  });

  test("finds that a break in the middle is no end", async () => {
    await server.close();
    const broken: Archive = {
      ...archive,
      async *read() {
        yield content.subarray(0, 1000);
        throw new Error("the node is gone");
      },
    };
    await serve({ read: (_, __, use) => use(broken) });
    await expect(ask().then(buffer)).rejects.toThrow();
    await waitFor("the error", () => errors.length === 1);
  });
});

test("each token has a share of the connections, idle ones too", async () => {
  await server.close();
  const { promise: never } = Promise.withResolvers<void>();
  const read = async function* (): AsyncGenerator<Buffer> {
    yield content.subarray(0, 1000);
    await never;
  };
  await serve({
    grant: async ({ name }) => ({ uid: name, checkpoint, until: Date.now() + 60_000 }),
    read: (_, signal, use) => orAborted(use({ ...archive, read }), signal),
  });
  const held = await Promise.all([1, 2, 3, 4].map(() => ask()));
  expect(held.map(({ statusCode }) => statusCode)).toEqual([200, 200, 200, 200]);
  const fifth = await ask();
  expect([fifth.statusCode, fifth.headers.connection]).toEqual([503, "close"]);
  expect((await buffer(fifth)).toString()).toContain("4 connections");
  const other = await ask({ path: downloadPath("shop", "e") });
  expect(other.statusCode).toBe(200);
  held[0]?.destroy();
  await waitFor("a place", async () => (await ask({ method: "HEAD" })).statusCode === 200);
  for (const answer of [...held, other]) answer.destroy();
});

describe("nobody else", () => {
  test.each<[string, Shown, boolean]>([
    ["no token", { authorization: undefined }, false],
    ["another token", { authorization: `Bearer ${createToken()}` }, true],
    ["half a token", { authorization: `Bearer ${token.slice(0, 20)}` }, false],
    ["the token as a password", { authorization: `Basic ${token}` }, false],
    ["the token of another object", { path: downloadPath("shop", "e") }, true],
    ["another path", { path: "/" }, false],
    ["a path with more", { path: `${path}/../x` }, false],
    ["a path with a query", { path: `${path}?a=b` }, false],
    ["a path that leads elsewhere", { path: "/v1/downloads/shop/..%2f..%2fpods/archive" }, false],
    ["a name that is none", { path: "/v1/downloads/shop/../archive" }, false],
    ["another method", { method: "POST" }, false],
  ])("has anything: %s", async (_, shown, isLookedUp) => {
    const answer = await ask(shown);
    expect(answer.statusCode).toBe(401);
    expect((await buffer(answer)).length).toBe(0);
    const { date: _date, ...headers } = answer.headers;
    expect(headers).toEqual({ "content-length": "0", connection: "close" });
    expect(asked.length > 0).toBe(isLookedUp);
  });

  test("reaches it than who is on its own host", async () => {
    const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
    const other = addresses.find(({ internal, family }) => !internal && family === "IPv4");
    if (other === undefined) return;
    await expect(ask({ host: other.address })).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });
});

test("while the API server does not answer, nothing is given", async () => {
  await server.close();
  await serve({ grant: () => Promise.reject(new Error("no answer")) });
  expect((await ask()).statusCode).toBe(503);
  expect(errors).toHaveLength(1);
});
