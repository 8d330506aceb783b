import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, request } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startTcpProxy, type TcpProxy } from "../../test/support/tcp-proxy.ts";
import { waitFor } from "../../test/support/wait-for.ts";
import { originalPages } from "../agent/store/original-pages.ts";
import { createAuthority, issue, validFor } from "../kube/certificates.ts";
import { COPY_INDEX, CORRUPT_MARK, type CopyFile, type CopyIndex } from "../store/copy.ts";
import { Layout } from "../store/layout.ts";
import { type Limits, Peer, type PeerOptions } from "./client.ts";
import {
  type Caller,
  DOWNLOAD_NAME,
  DOWNLOAD_ORGANIZATION,
  type Identity,
  ORGANIZATION,
  TLS_OPTIONS,
} from "./identity.ts";
import { parseRange, pathOf } from "./protocol.ts";
import { type ServerOptions, serveCopies, type TransferServer } from "./server.ts";
import { Throttle } from "./throttle.ts";

const never = new AbortController().signal;
const MiB = 2 ** 20;
const sha256 = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest("hex");
const authority = createAuthority("test", validFor(1));
const identityOf = (
  node: string,
  { by = authority, validity = validFor(1), organizations = [ORGANIZATION] } = {},
): Identity => ({
  ...issue(by, { commonName: node, organizations }, validity),
  ca: authority.cert,
});
const [a, b] = [identityOf("node-a"), identityOf("node-b")];

const ARCHIVE = sha256("archive");
/** Much is written, to a disk that others use too. */
const slow = { timeout: 60_000 };
const QUICK: Partial<Limits> = { retryDelayMs: 1, maxRetryDelayMs: 5, busyDelayMs: 1 };

/** 64 MiB that cannot be compressed and 64 MiB that are mostly a hole, beside small files. */
const contents = new Map<string, Buffer>();
let files: CopyFile[];
let directory: string;
let layout: Layout;
let server: TransferServer;
let proxy: TcpProxy;
let sent: number;
let answers: number[];
let doubts: string[];
let errors: unknown[];

beforeAll(() => {
  const sparse = Buffer.alloc(64 * MiB);
  for (let at = 0; at < sparse.length; at += 8 * MiB) randomBytes(4096).copy(sparse, at);
  contents.set("checkpoint/pages-1.img", randomBytes(64 * MiB));
  contents.set("checkpoint/pages-2.img", sparse);
  contents.set("checkpoint/inventory.img", Buffer.from("inventory"));
  contents.set("checkpoint/empty.img", Buffer.alloc(0));
  files = [...contents].map(([path, bytes]) => ({ path, size: bytes.length, sha256: sha256(bytes) }));
});
afterAll(() => contents.clear());

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kcr-transfer-"));
  layout = new Layout(join(directory, "a"));
  await writeCopy();
  server = await serve();
  proxy = await startTcpProxy(server.port);
});
afterEach(async () => {
  await proxy.stop();
  await server.close();
  await rm(directory, { recursive: true });
  expect(errors).toEqual([]);
});

async function writeCopy(): Promise<void> {
  const index: CopyIndex = {
    version: 1,
    archive: ARCHIVE,
    engine: "containerd",
    files,
    openForWriting: [],
    mounts: [],
  };
  for (const [path, bytes] of contents) {
    await mkdir(dirname(inCopy(path)), { recursive: true });
    await writeFile(inCopy(path), bytes);
  }
  await writeFile(inCopy(COPY_INDEX), JSON.stringify(index));
}
const inCopy = (path: string): string => join(layout.copy(ARCHIVE), path);

async function serve(options: Partial<ServerOptions> = {}): Promise<TransferServer> {
  [sent, answers, doubts, errors] = [0, [], [], []];
  return await serveCopies({
    sharedPages: originalPages,
    port: 0,
    host: "127.0.0.1",
    layout,
    identity: a,
    mayHave: async () => true,
    atOnce: 2,
    throttle: new Throttle(),
    onDoubt: (copy) => doubts.push(copy),
    onSent: (bytes) => {
      sent += bytes;
    },
    onAnswered: (status, error) => {
      answers.push(status);
      if (error !== undefined) errors.push(error);
    },
    ...options,
  });
}
const peer = (options: Partial<PeerOptions> = {}): Peer =>
  new Peer({
    node: "node-a",
    host: "127.0.0.1",
    port: proxy.port,
    identity: () => b,
    throttle: new Throttle(),
    ...options,
    limits: { ...QUICK, ...options.limits },
  });

const named = (path: string): CopyFile => files.find((file) => file.path === path)!;
const at = (file: CopyFile): string => join(directory, file.sha256);
const fetched = async (file: CopyFile, from = peer(), signal = never): Promise<void> => {
  using open = from;
  await open.fetch(ARCHIVE, file, at(file), signal);
};
const expectWhole = async (file: CopyFile): Promise<void> => {
  expect((await readFile(at(file))).equals(contents.get(file.path)!)).toBe(true);
};
/** A network that breaks each connection after so many bytes from the server, so many times. */
const cutAfter = (bytes: number, times: number): void => {
  proxy.onDown = (chunk, { down }) => (proxy.cuts < times && down + chunk.length > bytes ? "cut" : chunk);
};

/** A peer with the right certificate that answers what it likes. */
async function lie(answer: (request: IncomingMessage, response: ServerResponse) => void) {
  const liar = createServer({ ...TLS_OPTIONS, ...a }, answer);
  liar.listen(0, "127.0.0.1");
  await once(liar, "listening");
  return {
    port: (liar.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      liar.close();
      liar.closeAllConnections();
      await once(liar, "close");
    },
  };
}

/** What someone with that certificate, or none, is answered. */
const statusFor = (shown: Partial<Identity>, path = pathOf({ copy: ARCHIVE }), method = "GET") =>
  new Promise<number | string>((resolve) => {
    const { cert, key } = shown;
    const asking = request({
      host: "127.0.0.1",
      port: server.port,
      path,
      method,
      cert,
      key,
      agent: false,
      rejectUnauthorized: false,
    });
    asking.on("response", (response) => resolve(response.resume().statusCode ?? 0));
    asking.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    asking.end();
  });

describe("files of a copy", slow, () => {
  test("arrive as they are, by their index, each byte sent once, over one connection", async () => {
    let connections = 0;
    proxy.onUp = (chunk, { up }) => {
      if (up === 0) connections += 1;
      return chunk;
    };
    using from = peer();
    const index = await from.index(ARCHIVE, never);
    expect(index.files).toEqual(files);
    for (const file of index.files) {
      await from.fetch(ARCHIVE, file, at(file), never);
      await expectWhole(file);
    }
    expect(connections).toBe(1);
    await waitFor("the count of what was sent", () => sent === 128 * MiB + 9, { intervalMs: 10 });
  });

  test("go on where they stopped when the connection is cut three times", async () => {
    const file = named("checkpoint/pages-1.img");
    cutAfter(16 * MiB, 3);
    await fetched(file);
    await expectWhole(file);
    expect(proxy.cuts).toBe(3);
    // What was on its way when the connection broke is sent again, and nothing else.
    expect(sent).toBeGreaterThan(file.size);
    expect(sent).toBeLessThan(file.size + 3 * 8 * MiB);
  });

  test("go on after the receiver was killed", async () => {
    const file = named("checkpoint/pages-1.img");
    const stop = new AbortController();
    let received = 0;
    const onReceived = (bytes: number) => {
      received += bytes;
      if (!stop.signal.aborted && received > 20 * MiB) stop.abort(new Error("killed"));
    };
    await expect(fetched(file, peer({ onReceived }), stop.signal)).rejects.toThrow("killed");
    const kept = (await stat(at(file))).size;
    expect(kept).toBeGreaterThan(16 * MiB);
    received = 0;
    await fetched(file, peer({ onReceived }));
    await expectWhole(file);
    expect(received).toBe(file.size - kept);
  });

  test("are fetched anew when what was there is of something else, or too much", async () => {
    const file = named("checkpoint/pages-1.img");
    for (const before of [randomBytes(1000), randomBytes(file.size), randomBytes(file.size + 1)]) {
      await writeFile(at(file), before);
      await fetched(file);
      await expectWhole(file);
    }
  });

  test("whose bits are changed on the way are refused by TLS, and those bytes come again", async () => {
    const file = named("checkpoint/pages-1.img");
    let flips = 0;
    proxy.onDown = (chunk, { down }) => {
      if (flips === 3 || down < 16 * MiB) return chunk;
      flips += 1;
      chunk[chunk.length >> 1]! ^= 1;
      return chunk;
    };
    await fetched(file);
    await expectWhole(file);
    expect(flips).toBe(3);
    expect(sent).toBeLessThan(2 * file.size);
  });

  test("that the sender's disk has changed are refused, and fetched again once it is repaired", async () => {
    const file = named("checkpoint/pages-1.img");
    const bytes = Buffer.from(contents.get(file.path)!);
    bytes[40 * MiB]! ^= 1;
    await writeFile(inCopy(file.path), bytes);
    await expect(fetched(file)).rejects.toMatchObject({ code: "damaged" });
    expect((await stat(at(file))).size).toBe(0);

    await writeFile(inCopy(file.path), contents.get(file.path)!);
    await fetched(file);
    await expectWhole(file);
  });

  test("that the sender's disk has lost are not to be had, and the sender knows", async () => {
    const file = named("checkpoint/pages-1.img");
    await truncate(inCopy(file.path), 1000);
    await expect(fetched(file)).rejects.toMatchObject({ code: "missing" });
    expect(doubts).toEqual([ARCHIVE]);
    await rm(inCopy(file.path));
    await expect(fetched(file)).rejects.toMatchObject({ code: "missing" });
    expect(doubts).toEqual([ARCHIVE, ARCHIVE]);
  });

  test("stay where they are, as far as they came, when the peer is gone for good", async () => {
    const file = named("checkpoint/pages-1.img");
    proxy.onDown = (chunk, { down }) => (down > 8 * MiB || proxy.cuts > 0 ? "cut" : chunk);
    await expect(fetched(file)).rejects.toMatchObject({ code: "unreachable" });
    expect((await stat(at(file))).size).toBeGreaterThan(4 * MiB);
    expect(proxy.cuts).toBeGreaterThan(4);
  });

  test("do not come from a peer that stalls", async () => {
    const file = named("checkpoint/pages-1.img");
    let passed = 0;
    proxy.onDown = (chunk) => {
      passed += chunk.length;
      return passed > 8 * MiB ? Buffer.alloc(0) : chunk;
    };
    await expect(fetched(file, peer({ limits: { idleTimeoutMs: 50, attempts: 2 } }))).rejects.toMatchObject({
      code: "unreachable",
      message: expect.stringContaining("no byte moved"),
    });
  });

  test("do not fit on a full disk, and that is said as it is", async () => {
    const small = join(directory, "small");
    await mkdir(small);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=16m", "none", small]);
    try {
      const file = named("checkpoint/pages-1.img");
      using from = peer();
      const path = join(small, "part");
      await expect(from.fetch(ARCHIVE, file, path, never)).rejects.toMatchObject({ code: "ENOSPC" });
    } finally {
      execFileSync("umount", [small]);
    }
  });
});

describe("a part of a file", slow, () => {
  const file = () => named("checkpoint/pages-1.img");
  const read = async (range: { from: number; end: number }): Promise<Buffer> => {
    using from = peer();
    return Buffer.concat(await Array.fromAsync(from.read(ARCHIVE, file(), range, never)));
  };

  test.each([
    ["at its beginning", 0, 10],
    ["in its middle", 5 * MiB + 1, 9 * MiB],
    ["at its end", 64 * MiB - 1, 64 * MiB],
    ["that is none", 7, 7],
    ["that is all of it", 0, 64 * MiB],
  ])("%s arrives, and no more than that", async (_, from, end) => {
    const wanted = contents.get(file().path)!.subarray(from, end);
    expect((await read({ from, end })).equals(wanted)).toBe(true);
    await waitFor("the count of what was sent", () => sent === end - from, { intervalMs: 10 });
  });

  test("goes on where it stopped when the connection is cut", async () => {
    cutAfter(8 * MiB, 3);
    const range = { from: 3 * MiB, end: 60 * MiB };
    expect((await read(range)).equals(contents.get(file().path)!.subarray(range.from, range.end))).toBe(true);
    expect(proxy.cuts).toBe(3);
  });

  test("is no other than was asked for", async () => {
    await using hostile = await lie((_, response) => {
      response.writeHead(206, { "content-range": `bytes 0-9/${file().size}`, "content-length": 10 });
      response.end(Buffer.alloc(10));
    });
    using liar = peer({ port: hostile.port });
    const reading = Array.fromAsync(liar.read(ARCHIVE, file(), { from: 10, end: 20 }, never));
    await expect(reading).rejects.toMatchObject({ code: "protocol" });
  });

  test.each(["bytes=9-5", "bytes=5-", "bytes=-5", "bytes=0-1,3-4", "bytes=9-9", "chars=0-1", "bytes=x-"])(
    "is of few kinds: %s of nine bytes",
    (header) => {
      expect(parseRange(header, 9)).toEqual(header === "bytes=5-" ? { from: 5, end: 9 } : undefined);
    },
  );
});

describe("the index", () => {
  test.each([
    ["no JSON", "{"],
    ["another copy's", JSON.stringify({ version: 1, archive: sha256("other"), engine: "containerd" })],
    [
      "one with a name that leads elsewhere",
      JSON.stringify({
        version: 1,
        archive: ARCHIVE,
        engine: "containerd",
        files: [{ path: "../../etc/passwd", size: 1, sha256: ARCHIVE }],
        openForWriting: [],
        mounts: [],
      }),
    ],
    ["one with a negative size", JSON.stringify({ archive: ARCHIVE, files: [{ path: "a", size: -1 }] })],
    ["too long", " ".repeat(17 * MiB)],
  ])("that is %s is not handed out, and not taken", async (_, text) => {
    await writeFile(inCopy(COPY_INDEX), text);
    using from = peer();
    await expect(from.index(ARCHIVE, never)).rejects.toMatchObject({ code: "missing" });
    await expect(fetched(named("checkpoint/inventory.img"))).rejects.toMatchObject({ code: "missing" });

    await using hostile = await lie((_request, response) => response.end(text));
    using liar = peer({ port: hostile.port });
    await expect(liar.index(ARCHIVE, never)).rejects.toMatchObject({ code: "protocol" });
  });

  test("that an agent of a later version made is told apart from one that is none", async () => {
    const text = JSON.stringify({ version: 99, archive: ARCHIVE, files: "elsewhere" });
    await using later = await lie((_request, response) => response.end(text));
    using from = peer({ port: later.port });
    await expect(from.index(ARCHIVE, never)).rejects.toMatchObject({
      code: "version",
      message: expect.stringContaining("is of protocol 99"),
    });
  });

  test("is refused to a later protocol by a number of its own, which a client understands", async () => {
    for (const path of ["/v2/copies/", "/v10/anything?at=all"]) expect(await statusFor(b, path)).toBe(501);
    for (const path of ["/v0/copies/", "/v1x/", "/v-2/"]) expect(await statusFor(b, path)).toBe(400);
    await using earlier = await lie((_request, response) => response.writeHead(501).end());
    using from = peer({ port: earlier.port });
    await expect(from.index(ARCHIVE, never)).rejects.toMatchObject({ code: "version" });
  });

  test("of a copy that is known to be damaged is not handed out, nor are its files", async () => {
    await writeFile(inCopy(CORRUPT_MARK), "");
    using from = peer();
    await expect(from.index(ARCHIVE, never)).rejects.toMatchObject({ code: "missing" });
    await expect(fetched(named("checkpoint/inventory.img"))).rejects.toMatchObject({ code: "missing" });
  });

  test("is read anew when the copy was made anew", async () => {
    using from = peer();
    expect((await from.index(ARCHIVE, never)).files).toHaveLength(4);
    files = files.slice(1);
    await writeCopy();
    expect((await from.index(ARCHIVE, never)).files).toHaveLength(3);
    files = [...contents].map(([path, bytes]) => ({ path, size: bytes.length, sha256: sha256(bytes) }));
  });
});

describe("a peer that lies", () => {
  const size = 1000;
  const wanted = { size, sha256: sha256(Buffer.alloc(size, 1)) };
  const path = () => join(directory, "part");
  const taken = async (answer: Parameters<typeof lie>[0]) => {
    await using hostile = await lie(answer);
    using from = peer({ port: hostile.port });
    await from.fetch(ARCHIVE, wanted, path(), never);
  };

  test.each<[string, Parameters<typeof lie>[0]]>([
    ["more bytes than there are", (_, response) => response.end(Buffer.alloc(size + 1))],
    ["fewer bytes than there are", (_, response) => response.end(Buffer.alloc(size - 1))],
    ["bytes without an end", (_, response) => response.writeHead(200).write(Buffer.alloc(size))],
    ["another place", (_, response) => response.writeHead(302, { location: "/elsewhere" }).end()],
  ])("about a file with %s is not listened to", async (_, answer) => {
    await expect(taken(answer)).rejects.toMatchObject({ code: "protocol" });
    expect((await stat(path())).size).toBe(0);
  });

  test("about a file with the wrong bytes is asked twice, and leaves nothing", async () => {
    let asked = 0;
    const answer: Parameters<typeof lie>[0] = (_, response) => {
      asked += 1;
      response.end(Buffer.alloc(size));
    };
    await expect(taken(answer)).rejects.toMatchObject({ code: "damaged" });
    expect(asked).toBe(2);
    expect((await stat(path())).size).toBe(0);
  });

  test.each<[string, number, Record<string, string>]>([
    ["all of it", 200, {}],
    ["another part", 206, { "content-range": `bytes 0-499/${size}` }],
    ["a part of another whole", 206, { "content-range": "bytes 500-999/2000" }],
    ["a part without saying which", 206, {}],
  ])("about the part that is asked for with %s is not listened to", async (_, status, headers) => {
    const part = Buffer.alloc(500, 1);
    await writeFile(path(), part);
    await expect(
      taken((_request, response) => response.writeHead(status, headers).end(part)),
    ).rejects.toMatchObject({ code: "protocol" });
  });
});

describe("who gets something", () => {
  const day = 86_400_000;
  const past = { notBefore: new Date(Date.now() - 2 * day), notAfter: new Date(Date.now() - day) };
  const future = { notBefore: new Date(Date.now() + day), notAfter: new Date(Date.now() + 2 * day) };

  test.each<[string, Partial<Identity>]>([
    ["without a certificate", {}],
    ["of an authority of the same name", identityOf("node-b", { by: createAuthority("test", validFor(1)) })],
    ["that has expired", identityOf("node-b", { validity: past })],
    ["that is not valid yet", identityOf("node-b", { validity: future })],
  ])("is nobody with a certificate %s", async (_, shown) => {
    expect(await statusFor(shown)).toEqual(expect.stringMatching(/^(ECONNRESET|EPIPE|ERR_SSL_.*)$/));
    expect(answers).toEqual([]);
    using from = peer({ identity: () => ({ ...b, ...shown, ...(shown.cert ? {} : { cert: "", key: "" }) }) });
    await expect(from.index(ARCHIVE, never)).rejects.toMatchObject({ code: "unreachable" });
    expect(answers).toEqual([]);
  });

  test.each([
    ["no organization", []],
    ["another organization", ["system:masters"]],
    ["two organizations", [ORGANIZATION, "system:masters"]],
  ])("is nobody whose certificate has %s", async (_, organizations) => {
    expect(await statusFor(identityOf("node-b", { organizations }))).toBe(403);
  });

  test("is nobody whose certificate names what is no node", async () => {
    for (const name of ["", "Node", "node-b\nCN=node-c", "node_b", "-", "a..b", "x".repeat(254)]) {
      expect(await statusFor(identityOf(name))).toBe(403);
    }
    expect(await statusFor(identityOf("10.0.0.1"))).toBe(200);
  });

  test("is a node with a reason, asked for each copy and file; while nobody can say, it is told to come again", async () => {
    const asked: string[] = [];
    await server.close();
    let verdict: () => boolean = () => true;
    server = await serve({
      mayHave: async (caller, copy) => {
        asked.push(`${caller.type === "node" && caller.node} ${copy === ARCHIVE}`);
        return verdict();
      },
    });
    const file = pathOf({ copy: ARCHIVE, file: named("checkpoint/inventory.img").sha256 });
    expect(await statusFor(b)).toBe(200);
    verdict = () => false;
    expect([await statusFor(b), await statusFor(b, file)]).toEqual([403, 403]);
    verdict = () => {
      throw new Error("the API server does not answer");
    };
    expect(await statusFor(b, file)).toBe(503);
    expect(errors.splice(0)).toEqual([new Error("the API server does not answer")]);
    expect(new Set(asked)).toEqual(new Set(["node-b true"]));
    expect(sent).toBe(0);
  });

  test("may say that a copy is not what it should be, and nobody else may", async () => {
    using from = peer();
    await from.doubt(ARCHIVE, never);
    await from.doubt(ARCHIVE, never);
    expect(doubts).toEqual([ARCHIVE, ARCHIVE]);
    expect(answers).toEqual([202, 202]);
    await server.close();
    server = await serve({ mayHave: async () => false });
    const path = pathOf({ copy: ARCHIVE });
    expect(await statusFor(b, path, "POST")).toBe(403);
    expect(await statusFor(identityOf("node-b", { organizations: [] }), path, "POST")).toBe(403);
    expect(doubts).toEqual([]);
  });

  test("is the download part with a reason, which is taken for no node", async () => {
    const asked: Caller[] = [];
    await server.close();
    server = await serve({
      mayHave: async (caller) => {
        asked.push(caller);
        return caller.type === "download";
      },
    });
    const download = identityOf(DOWNLOAD_NAME, { organizations: [DOWNLOAD_ORGANIZATION] });
    expect(await statusFor(download)).toBe(200);
    expect(asked).toEqual([{ type: "download" }]);
    for (const [name, organizations] of [
      ["node-b", [DOWNLOAD_ORGANIZATION]],
      [DOWNLOAD_NAME, [DOWNLOAD_ORGANIZATION, ORGANIZATION]],
      [DOWNLOAD_NAME, [ORGANIZATION]],
    ] as const) {
      expect([name, await statusFor(identityOf(name, { organizations: [...organizations] }))]).toEqual([
        name,
        403,
      ]);
    }
    expect(asked.slice(1)).toEqual([{ type: "node", node: DOWNLOAD_NAME }]);

    server.setIdentity(download);
    using from = peer();
    await expect(from.index(ARCHIVE, never)).rejects.toMatchObject({ code: "unreachable" });
  });

  test("gets nothing but copies and their files", async () => {
    const other = sha256("other");
    for (const path of [
      "/",
      "/v1/copies/",
      `/v1/copies/${ARCHIVE}/`,
      `/v1/copies/${ARCHIVE}/checkpoint/inventory.img`,
      `/v1/copies/${ARCHIVE}/../${other}`,
      `/v1/copies/${ARCHIVE.toUpperCase()}`,
      `/v1/copies/..%2f..%2fetc`,
      `${pathOf({ copy: ARCHIVE })}?x`,
    ]) {
      expect([path, await statusFor(b, path)]).toEqual([path, 400]);
    }
    expect(await statusFor(b, undefined, "DELETE")).toBe(400);
    expect(await statusFor(b, pathOf({ copy: ARCHIVE, file: other }), "POST")).toBe(400);
    expect(await statusFor(b, pathOf({ copy: other }))).toBe(404);
    expect(await statusFor(b, pathOf({ copy: ARCHIVE, file: other }))).toBe(404);
  });

  test("asks nobody but the node it means to ask, of an authority it trusts", async () => {
    for (const options of [
      { node: "node-c" },
      { identity: () => ({ ...b, ca: createAuthority("test", validFor(1)).cert }) },
    ]) {
      using from = peer(options);
      await expect(from.index(ARCHIVE, never)).rejects.toMatchObject({ code: "unreachable" });
    }
    for (const identity of [
      identityOf("node-a", { organizations: ["others"] }),
      identityOf("node-a", { validity: past }),
    ]) {
      server.setIdentity(identity);
      using from = peer();
      await expect(from.index(ARCHIVE, never)).rejects.toMatchObject({ code: "unreachable" });
    }
    expect(answers).toEqual([]);
    server.setIdentity(a);
    expect(await statusFor({})).not.toEqual(expect.any(Number));
    using from = peer();
    await from.index(ARCHIVE, never);
  });

  test("is nobody whose certificate ends while the connection lasts", async () => {
    const validity = { notBefore: new Date(Date.now() - day), notAfter: new Date(Date.now() + 2_000) };
    const ending = identityOf("node-b", { validity });
    using from = peer({ identity: () => ending });
    await from.index(ARCHIVE, never);
    const end = await waitFor("the end", () =>
      from.index(ARCHIVE, never).then(
        () => undefined,
        (error: unknown) => error,
      ),
    );
    expect(end).toMatchObject({ code: "refused" });
  });

  test("goes on over a change of the authorities", async () => {
    const next = createAuthority("test", validFor(1));
    const both = authority.cert + next.cert;
    server.setIdentity({ ...a, ca: both });
    using old = peer({ identity: () => ({ ...b, ca: both }) });
    await old.index(ARCHIVE, never);
    server.setIdentity({ ...identityOf("node-a", { by: next }), ca: both });
    using still = peer({ identity: () => ({ ...b, ca: both }) });
    await still.index(ARCHIVE, never);
    using newer = peer({ identity: () => ({ ...identityOf("node-b", { by: next }), ca: both }) });
    await newer.index(ARCHIVE, never);
  });
});

describe("at most so much", slow, () => {
  test("files at once: who asks for more comes again", async () => {
    await server.close();
    server = await serve({ atOnce: 1 });
    const file = named("checkpoint/pages-1.img");
    const stop = new AbortController();
    const { promise: holding, resolve: hold } = Promise.withResolvers<void>();
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const slow = new Throttle();
    slow.take = async () => {
      hold();
      await released;
    };
    const direct = { port: server.port };
    const first = fetched(file, peer({ ...direct, throttle: slow }), stop.signal);
    await holding;
    const other = named("checkpoint/inventory.img");
    await expect(fetched(other, peer({ ...direct, limits: { busyAttempts: 3 } }))).rejects.toMatchObject({
      code: "busy",
    });
    const patient = fetched(other, peer({ ...direct, limits: { busyAttempts: 100_000 } }));
    await waitFor("it to have come again", () => answers.filter((status) => status === 503).length > 5);
    // Downloads have places of their own.
    const asPart = peer({
      ...direct,
      identity: () => identityOf(DOWNLOAD_NAME, { organizations: [DOWNLOAD_ORGANIZATION] }),
      limits: { busyAttempts: 1 },
    });
    const part = asPart.read(ARCHIVE, other, { from: 0, end: other.size }, never);
    expect(Buffer.concat(await Array.fromAsync(part)).toString()).toBe("inventory");
    asPart.close();
    release();
    await Promise.all([first, patient]);
    await expectWhole(file);
    await expectWhole(other);
  });

  test.each(["sent", "received"] as const)("bytes a second are %s", async (side) => {
    const file = named("checkpoint/pages-1.img");
    let time = 0;
    const limited = new Throttle(10 * MiB, {
      now: () => time,
      async sleep(milliseconds) {
        time += milliseconds;
      },
    });
    if (side === "sent") {
      await server.close();
      server = await serve({ throttle: limited });
    }
    await fetched(file, peer({ port: server.port, ...(side === "received" && { throttle: limited }) }));
    await expectWhole(file);
    expect(time / 1000).toBeCloseTo(file.size / (10 * MiB), 0);
  });
});
