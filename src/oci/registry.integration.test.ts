import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { appendFileSync } from "node:fs";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { createServer, type RequestListener, type Server } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import {
  type RegistryOptions as ServerOptions,
  startRegistry,
  type TestRegistry,
} from "../../test/support/registry.ts";
import { startRegistryRelay } from "../../test/support/registry-relay.ts";
import { startTcpProxy, type TcpProxy } from "../../test/support/tcp-proxy.ts";
import { waitFor } from "../../test/support/wait-for.ts";
import { pushCheckpointImage } from "./checkpoint-image.ts";
import { digestOf } from "./digest.ts";
import { RegistryError } from "./errors.ts";
import { buildImage } from "./image.ts";
import { writeLayer } from "./layer.ts";
import { descriptorOf, encodeConfig, encodeManifest, parseManifest } from "./manifest.ts";
import { pushLayout, verifyImage } from "./push.ts";
import { RegistryClient, type RegistryOptions } from "./registry.ts";
import { bytesSource, SourceChangedError } from "./source.ts";

const whyNot = inject("whyNotApiServer");
const MiB = 1024 * 1024;

let directory: string;
const cleanups: (() => Promise<void>)[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kcr-oci-"));
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function started(options?: ServerOptions): Promise<TestRegistry> {
  const registry = await startRegistry(options);
  cleanups.push(() => registry.stop());
  return registry;
}

async function proxied(registry: TestRegistry): Promise<TcpProxy> {
  const proxy = await startTcpProxy(registry.port);
  cleanups.push(() => proxy.stop());
  return proxy;
}

function client(
  registry: Pick<TestRegistry, "address"> & Partial<TestRegistry>,
  options?: Partial<RegistryOptions>,
) {
  const { address, plainHttp = true, ca, credentials } = registry;
  const made = new RegistryClient({
    address,
    plainHttp,
    ca,
    credentials,
    ...options,
    limits: { retryDelayMs: 20, maxRetryDelayMs: 500, ...options?.limits },
  });
  cleanups.push(() => made.close());
  return made;
}

async function archiveOf(bytes: Buffer): Promise<string> {
  const path = join(directory, `${randomBytes(4).toString("hex")}.tar`);
  await writeFile(path, bytes);
  return path;
}

const image = { config: { architecture: "amd64", user: "999:999" }, annotations: { b: "2", a: "1" } };

describe.skipIf(whyNot)("against a registry", () => {
  describe.each<[string, ServerOptions]>([
    ["over plain HTTP", {}],
    ["with basic auth and TLS", { auth: "basic", tls: true }],
    ["with token auth", { auth: "token" }],
  ])("%s", (_name, options) => {
    test("an archive becomes an image with the archive as its one layer, byte for byte", async () => {
      const registry = await started(options);
      const to = client(registry);
      await to.ping();
      const bytes = randomBytes(5 * MiB + 123);
      const archive = await archiveOf(bytes);
      const progress: number[] = [];
      const pushed = await pushCheckpointImage({
        client: to,
        repository: "kcr/default/checkpoint-redis-redis",
        tag: "redis-0-default-1700000000",
        archive,
        ...image,
        onProgress: (sent) => progress.push(sent),
      });
      expect(pushed.layer).toEqual({ digest: digestOf(bytes), size: bytes.length });
      expect(progress.at(-1)).toBe(bytes.length);

      const repository = "kcr/default/checkpoint-redis-redis";
      const manifest = await to.getManifest(repository, "redis-0-default-1700000000");
      expect(manifest.digest).toBe(pushed.digest);
      expect(manifest.mediaType).toBe("application/vnd.oci.image.manifest.v1+json");
      const { config, layers, annotations } = parseManifest(manifest.bytes);
      expect(annotations).toEqual({ a: "1", b: "2" });
      expect(layers).toEqual([
        { mediaType: "application/vnd.oci.image.layer.v1.tar", digest: digestOf(bytes), size: bytes.length },
      ]);
      expect(JSON.parse((await buffer(to.getBlob(repository, config))).toString())).toEqual({
        architecture: "amd64",
        os: "linux",
        config: { User: "999:999" },
        rootfs: { type: "layers", diff_ids: [digestOf(bytes)] },
      });
      expect(bytes.equals(await buffer(to.getBlob(repository, layers[0]!)))).toBe(true);
      for (const [from, end] of [
        [0, bytes.length],
        [0, 1],
        [MiB - 1, 3 * MiB + 1],
        [bytes.length - 1, bytes.length],
        [7, 7],
      ] as const) {
        const part = await buffer(to.readBlob(repository, layers[0]!, { from, end }));
        expect(bytes.subarray(from, end).equals(part), `${from} to ${end}`).toBe(true);
      }

      const again = await pushCheckpointImage({
        client: to,
        repository,
        tag: "again",
        archive,
        ...image,
        layerDigest: pushed.layer.digest,
      });
      expect(again).toMatchObject({ digest: pushed.digest, pushedBytes: 0 });
      expect((await to.listTags(repository)).sort()).toEqual(["again", "redis-0-default-1700000000"]);

      expect(await to.deleteManifest(repository, pushed.digest)).toBe(true);
      expect(await to.headManifest(repository, pushed.digest)).toBeUndefined();
      expect(await to.deleteManifest(repository, pushed.digest)).toBe(false);
      await expect(verifyImage(to, repository, pushed.digest)).rejects.toMatchObject({ code: "not-found" });
    });
  });

  test("an image of directories is pushed from its layout, and blobs are mounted rather than sent again", async () => {
    const to = client(await started());
    const tree = join(directory, "tree");
    const layer = await writeLayer(import.meta.dirname, `${tree}.layer`, { prefix: "opt/kcr" });
    const built = await buildImage({
      layout: tree,
      layers: [layer],
      config: { entrypoint: ["/opt/kcr/run"] },
    });
    const first = await pushLayout(to, built, "kcr/tree", "v1");
    expect(first).toMatchObject({ digest: built.descriptor.digest });
    expect((await verifyImage(to, "kcr/tree", first.digest)).layers[0]!.digest).toBe(layer.digest);
    expect((await pushLayout(to, built, "kcr/tree", "v2")).pushedBytes).toBe(0);

    expect(await to.mountBlob("kcr/other", layer.digest, "kcr/tree")).toBe(true);
    expect(await to.headBlob("kcr/other", layer.digest)).toBe(layer.size);
    expect(await to.mountBlob("kcr/other", digestOf("never pushed"), "kcr/tree")).toBe(false);
  });

  test("a repository that is not there has no tags, no manifest and no blob", async () => {
    const to = client(await started());
    expect(await to.listTags("no/such")).toEqual([]);
    expect(await to.headManifest("no/such", "latest")).toBeUndefined();
    expect(await to.headBlob("no/such", digestOf(""))).toBeUndefined();
    await expect(to.getManifest("no/such", "latest")).rejects.toMatchObject({
      code: "not-found",
      status: 404,
    });
  });

  test("names that would lead elsewhere are never sent", async () => {
    const to = client({ address: "127.0.0.1:1" });
    for (const repository of ["../x", "a/../../v2", "A", "a//b", "a?b", ""]) {
      await expect(to.headManifest(repository, "latest")).rejects.toMatchObject({ name: "ImageNameError" });
      const source = bytesSource(Buffer.from("x"));
      await expect(to.uploadBlob({ repository, source })).rejects.toMatchObject({ name: "ImageNameError" });
    }
    await expect(to.getManifest("a", "../b")).rejects.toMatchObject({ name: "ImageNameError" });
  });

  describe("who may", () => {
    test.each(["basic", "token"] as const)(
      "wrong credentials are refused (%s), and never shown",
      async (auth) => {
        const registry = await started({ auth });
        const wrong = client({ ...registry, credentials: { username: "kcr", password: "hunter2" } });
        const error = await wrong.ping().catch((reason) => reason);
        expect(error).toMatchObject({ code: "unauthorized", status: 401 });
        expect(`${error.message} ${error.stack} ${JSON.stringify(error)}`).not.toContain("hunter2");
        const none = client({ ...registry, credentials: undefined });
        await expect(none.listTags("a")).rejects.toMatchObject({ code: "unauthorized" });
        const source = bytesSource(Buffer.from("x"));
        await expect(none.uploadBlob({ repository: "a", source })).rejects.toMatchObject({
          code: "unauthorized",
        });
      },
    );

    test("credentials that lack the right are told from wrong ones", async () => {
      const registry = await started({ auth: "token" });
      registry.tokens!.allow(["pull"]);
      const to = client(registry);
      expect(await to.listTags("a")).toEqual([]);
      const source = bytesSource(Buffer.from("x"));
      await expect(to.uploadBlob({ repository: "a", source })).rejects.toMatchObject({ code: "forbidden" });
    });

    test("a token is asked for once per scope, and again when it has run out", async () => {
      const registry = await started({ auth: "token" });
      const to = client(registry);
      await Promise.all([1, 2, 3].map(() => to.listTags("a")));
      await to.listTags("a");
      const asked = () => registry.tokens!.granted.filter((scope) => scope === "repository:a:pull").length;
      expect(asked()).toBeLessThanOrEqual(3);
      const before = asked();
      await to.listTags("a");
      expect(asked()).toBe(before);
      // Shorter than the margin in which a token is not used any more.
      registry.tokens!.setLife(1);
      await to.listTags("b");
      await to.listTags("b");
      expect(registry.tokens!.granted.filter((scope) => scope === "repository:b:pull")).toHaveLength(2);
    });

    test("no credentials go to a token service over plain HTTP", async () => {
      const registry = await started({ auth: "token", tls: true });
      await expect(client(registry).ping()).rejects.toMatchObject({ code: "tls" });
      expect(registry.tokens!.requests).toBe(0);
    });
  });

  describe("TLS", () => {
    test("a certificate of an unknown authority is refused", async () => {
      const registry = await started({ tls: true });
      const error = await client({ ...registry, ca: undefined })
        .ping()
        .catch((reason) => reason);
      expect(error).toMatchObject({ code: "tls", registry: registry.address });
      expect(error.message).toContain("give the CA");
    });

    test("a certificate of another name is refused", async () => {
      const registry = await started({ tls: true, names: ["registry.example"] });
      await expect(client(registry).ping()).rejects.toMatchObject({ code: "tls" });
    });

    test("HTTPS to a registry without it, and HTTP to one with it, say what to do", async () => {
      const plain = await started();
      await expect(client({ ...plain, plainHttp: false }).ping()).rejects.toMatchObject({ code: "tls" });
      const secure = await started({ tls: true });
      await expect(client({ ...secure, plainHttp: true }).ping()).rejects.toMatchObject({ code: "protocol" });
    });

    test("what is no certificate is refused at once", () => {
      expect(() =>
        client({ address: "a", ca: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----" }),
      ).toThrow(RegistryError);
    });
  });

  describe("a bad network", () => {
    test("a registry that is not there is unreachable, in bounded time", async () => {
      const closed = createTcpServer().listen(0, "127.0.0.1");
      await once(closed, "listening");
      const { port } = closed.address() as AddressInfo;
      closed.close();
      const to = client({ address: `127.0.0.1:${port}` }, { limits: { attempts: 3 } });
      const error = await to.headBlob("team/app", digestOf("")).catch((reason) => reason);
      expect(error).toMatchObject({ code: "unreachable", repository: "team/app" });
      expect(error.message).toContain(`127.0.0.1:${port}/team/app: cannot be reached`);
      expect(error.cause).toMatchObject({ code: "ECONNREFUSED" });
    });

    test("a registry that says nothing is unreachable, in bounded time", async () => {
      const mute = createTcpServer(() => {}).listen(0, "127.0.0.1");
      await once(mute, "listening");
      cleanups.push(async () => void mute.close());
      const address = `127.0.0.1:${(mute.address() as AddressInfo).port}`;
      const to = client({ address }, { limits: { attempts: 2, idleTimeoutMs: 100 } });
      await expect(to.ping()).rejects.toMatchObject({
        code: "unreachable",
        message: expect.stringContaining("0.1 s"),
      });
      const source = bytesSource(randomBytes(100));
      await expect(to.uploadBlob({ repository: "a", source })).rejects.toMatchObject({ code: "unreachable" });
    });

    test("a registry that answers long after it was given all of an upload is waited for", async () => {
      await using relay = await startRegistryRelay(await started());
      const idleTimeoutMs = 500;
      relay.answerMs = 3 * idleTimeoutMs;
      const bytes = randomBytes(3 * MiB);
      const { sentBytes } = await client(relay, { limits: { idleTimeoutMs } }).uploadBlob({
        repository: "a",
        source: chunkedSource(bytes),
      });
      expect(sentBytes).toBe(bytes.length);
      const patches = relay.answered.filter((one) => one.startsWith("PATCH"));
      expect(patches).toHaveLength(1);
    });

    test("an upload that is cut off goes on where it was", async () => {
      const registry = await started();
      const proxy = await proxied(registry);
      const bytes = randomBytes(24 * MiB);
      const marks = [6 * MiB, 8 * MiB];
      proxy.onUp = (chunk, { up }) => {
        const cut = up > (marks[0] ?? Number.POSITIVE_INFINITY);
        if (cut) marks.shift();
        return cut ? "cut" : chunk;
      };
      const { digest, sentBytes } = await client(proxy).uploadBlob({
        repository: "a",
        source: chunkedSource(bytes),
      });
      expect(proxy.cuts).toBe(2);
      expect(digest).toBe(digestOf(bytes));
      expect(sentBytes).toBeGreaterThan(bytes.length - MiB);
      expect(sentBytes).toBeLessThan(bytes.length + 16 * MiB);
      expect((await registry.log()).match(/PATCH/g)?.length).toBeGreaterThanOrEqual(3);
      expect(bytes.equals(await buffer(client(registry).getBlob("a", { digest, size: bytes.length })))).toBe(
        true,
      );
    });

    test("an upload that the registry has forgotten is begun again", async () => {
      const registry = await started();
      const proxy = await proxied(registry);
      const bytes = randomBytes(8 * MiB);
      proxy.onUp = (chunk, { up }) => (up > 4 * MiB ? "cut" : chunk);
      const uploading = client(proxy, { limits: { attempts: 10 } }).uploadBlob({
        repository: "a",
        source: chunkedSource(bytes),
      });
      await waitFor("the first cut", () => proxy.cuts > 0, { intervalMs: 5 });
      await registry.kill();
      await rm(join(registry.data, "docker/registry/v2/repositories/a/_uploads"), { recursive: true });
      proxy.onUp = undefined;
      await registry.start();
      expect((await uploading).digest).toBe(digestOf(bytes));
    });

    test("a registry that is restarted in the middle gets it all", async () => {
      const registry = await started();
      const bytes = randomBytes(32 * MiB);
      const restart = Promise.withResolvers<void>();
      const uploading = client(registry, { limits: { attempts: 10 } }).uploadBlob({
        repository: "a",
        source: chunkedSource(bytes),
        onProgress: (sent) => sent > 8 * MiB && restart.resolve(),
      });
      await restart.promise;
      await registry.kill();
      await registry.start();
      const { digest } = await uploading;
      expect(bytes.equals(await buffer(client(registry).getBlob("a", { digest, size: bytes.length })))).toBe(
        true,
      );
    });

    test("an upload whose end was heard, but whose answer was lost, is not sent again", async () => {
      const registry = await started();
      const proxy = await proxied(registry);
      let closing = false;
      proxy.onUp = (chunk) => {
        closing ||= chunk.subarray(0, 4).toString() === "PUT ";
        return chunk;
      };
      proxy.onDown = (chunk) => {
        if (!closing || proxy.cuts > 0) return chunk;
        return "cut";
      };
      const bytes = randomBytes(3 * MiB);
      const { sentBytes } = await client(proxy).uploadBlob({ repository: "a", source: chunkedSource(bytes) });
      expect(proxy.cuts).toBe(1);
      expect(sentBytes).toBe(bytes.length);
    });

    test("bytes changed on their way up are found out", async () => {
      const proxy = await proxied(await started());
      proxy.onUp = (chunk, { up }) => (up > 2 * MiB ? flipped(chunk) : chunk);
      const source = chunkedSource(randomBytes(4 * MiB));
      await expect(client(proxy).uploadBlob({ repository: "a", source })).rejects.toMatchObject({
        code: "digest-mismatch",
      });
    });

    test("bytes changed on their way down are found out, before the last of them is given out", async () => {
      const registry = await started();
      const to = client(registry);
      const bytes = randomBytes(2 * MiB);
      const archive = await archiveOf(bytes);
      const { digest } = await pushCheckpointImage({
        client: to,
        repository: "a",
        tag: "t",
        archive,
        ...image,
      });
      const proxy = await proxied(registry);
      proxy.onDown = (chunk) => flippedBody(chunk);
      const lied = client(proxy);
      await expect(lied.getManifest("a", "t")).rejects.toMatchObject({ code: "digest-mismatch" });
      await expect(lied.getManifest("a", digest)).rejects.toMatchObject({ code: "digest-mismatch" });
      let got = 0;
      const reading = async () => {
        for await (const chunk of lied.getBlob("a", { digest: digestOf(bytes), size: bytes.length }))
          got += chunk.length;
      };
      await expect(reading()).rejects.toMatchObject({ code: "digest-mismatch" });
      expect(got).toBeLessThan(bytes.length);
    });

    test("an upload that is called off ends at once, and leaves nothing", async () => {
      const registry = await started();
      const controller = new AbortController();
      const reason = new Error("called off");
      const uploading = client(registry).uploadBlob({
        repository: "a",
        source: chunkedSource(randomBytes(16 * MiB)),
        signal: controller.signal,
        onProgress: () => controller.abort(reason),
      });
      await expect(uploading).rejects.toBe(reason);
      const uploads = join(registry.data, "docker/registry/v2/repositories/a/_uploads");
      // The registry may still note the hash of what it has just dropped; the bytes are what counts.
      const left = await readdir(uploads, { recursive: true });
      expect(left.filter((name) => name.endsWith("/data"))).toEqual([]);
    });
  });

  describe("what must not become an image", () => {
    test("an archive that is written to meanwhile", async () => {
      const registry = await started();
      const archive = await archiveOf(randomBytes(8 * MiB));
      let changed = false;
      const pushing = pushCheckpointImage({
        client: client(registry),
        repository: "a",
        tag: "t",
        archive,
        ...image,
        onProgress: () => {
          if (!changed) appendFileSync(archive, "more");
          changed = true;
        },
      });
      await expect(pushing).rejects.toBeInstanceOf(SourceChangedError);
      expect(await client(registry).listTags("a")).toEqual([]);
    });

    test("an archive that is not what it is said to be", async () => {
      const registry = await started();
      const archive = await archiveOf(randomBytes(MiB));
      const layerDigest = digestOf("something else");
      const options = { client: client(registry), repository: "a", tag: "t", archive, ...image, layerDigest };
      await expect(pushCheckpointImage(options)).rejects.toMatchObject({ code: "digest-mismatch" });
      expect(await client(registry).listTags("a")).toEqual([]);
    });
  });

  test("an image that lacks a blob does not pass for whole", async () => {
    const registry = await started();
    const to = client(registry);
    const archive = await archiveOf(randomBytes(MiB));
    const { digest, layer } = await pushCheckpointImage({
      client: to,
      repository: "a",
      tag: "t",
      archive,
      ...image,
    });
    await verifyImage(to, "a", digest);
    const hex = layer.digest.slice("sha256:".length);
    await rm(join(registry.data, `docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}`), {
      recursive: true,
    });
    await expect(verifyImage(to, "a", digest)).rejects.toMatchObject({ code: "not-found" });
  });

  test("a registry that does not delete says so", async () => {
    const registry = await started({ deletes: false });
    const to = client(registry);
    const config = encodeConfig({ architecture: "amd64", os: "linux", diffIds: [] });
    await to.uploadBlob({ repository: "a", source: bytesSource(config.bytes) });
    const manifest = encodeManifest(descriptorOf(config), []);
    await to.putManifest("a", "t", manifest);
    await expect(to.deleteManifest("a", manifest.digest)).rejects.toMatchObject({ code: "unsupported" });
  });
});

/** What no real registry on loopback can be made to answer. */
describe("answers of other registries", () => {
  async function serving(handler: RequestListener): Promise<{ address: string; server: Server }> {
    const server = createServer(handler).listen(0, "127.0.0.1");
    await once(server, "listening");
    cleanups.push(async () => {
      server.closeAllConnections();
      server.close();
    });
    return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, server };
  }
  const credentials = { username: "kcr", password: "secret" };

  test("a redirect to storage elsewhere is followed without the credentials", async () => {
    const seen: (string | undefined)[] = [];
    const storage = await serving((request, response) => {
      seen.push(request.headers.authorization);
      response.end("blob");
    });
    const { address } = await serving((request, response) => {
      if (!request.headers.authorization)
        response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
      else response.writeHead(307, { location: `http://${storage.address}/signed?key=1` }).end();
    });
    const to = client({ address, credentials });
    expect((await buffer(to.getBlob("a", { digest: digestOf("blob"), size: 4 }))).toString()).toBe("blob");
    expect(seen).toEqual([undefined]);
  });

  test("a part of a blob is had of one that knows no ranges, and is never another part", async () => {
    let answer: RequestListener = (_, response) => response.end("0123456789");
    const { address } = await serving((...given) => answer(...given));
    const read = async (from: number, end: number) =>
      (
        await buffer(client({ address }).readBlob("a", { digest: digestOf("x"), size: 10 }, { from, end }))
      ).toString();
    expect([await read(0, 10), await read(3, 7), await read(9, 10)]).toEqual(["0123456789", "3456", "9"]);
    for (const [range, body] of [
      ["bytes 0-3/10", "0123"],
      ["bytes 3-6/11", "3456"],
      ["bytes 3-6/10", "34"],
    ] as const) {
      answer = (_, response) => response.writeHead(206, { "content-range": range }).end(body);
      await expect(read(3, 7)).rejects.toMatchObject({ code: "protocol" });
    }
  });

  test("redirects without end are an error", async () => {
    const { address } = await serving((request, response) =>
      response.writeHead(307, { location: request.url }).end(),
    );
    await expect(client({ address }).getManifest("a", "t")).rejects.toMatchObject({ code: "protocol" });
  });

  test("429 is waited out as long as it asks, but not forever", async () => {
    let requests = 0;
    const { address } = await serving((_request, response) => {
      requests += 1;
      if (requests < 3) response.writeHead(429, { "retry-after": "3600" }).end();
      else response.end("{}");
    });
    await client({ address }, { limits: { maxRetryDelayMs: 30 } }).ping();
    expect(requests).toBe(3);
    requests = Number.NEGATIVE_INFINITY;
    const limits = { maxRetryDelayMs: 5, attempts: 3 };
    await expect(client({ address }, { limits }).ping()).rejects.toMatchObject({
      code: "unreachable",
      status: 429,
    });
  });

  test("a proxy that has lost its registry does not make manifests pass for gone", async () => {
    const { address } = await serving((_request, response) => response.writeHead(404).end("no backend"));
    const to = client({ address });
    await expect(to.ping()).rejects.toMatchObject({ code: "protocol" });
    await expect(to.deleteManifest("a", digestOf(""))).rejects.toMatchObject({ code: "protocol" });
  });

  test("a manifest without end is not read to it", async () => {
    const { address } = await serving((_request, response) => {
      const more = () => {
        while (!response.destroyed && response.write("x".repeat(65536)));
        response.once("drain", more);
      };
      more();
    });
    await expect(client({ address }).getManifest("a", "t")).rejects.toMatchObject({ code: "too-large" });
  });

  test("an upload address on plain HTTP is refused when the registry is on HTTPS", async () => {
    // Reached by way of Session.locate, which every address that a registry gives goes through.
    const { Session } = await import("./session.ts");
    const { DEFAULT_LIMITS } = await import("./http.ts");
    const session = new Session({
      address: "r.example",
      plainHttp: false,
      userAgent: "kcr",
      limits: DEFAULT_LIMITS,
    });
    const base = new URL("https://r.example/v2/a/blobs/uploads/");
    expect(session.locate("/v2/a/blobs/uploads/1", base, { doing: "" }).href).toBe(
      "https://r.example/v2/a/blobs/uploads/1",
    );
    expect(() => session.locate("http://r.example/v2/x", base, { doing: "" })).toThrow(
      "leads from HTTPS to plain HTTP",
    );
    expect(() => session.locate("file:///etc/passwd", base, { doing: "" })).toThrow(RegistryError);
    expect(() => session.locate(undefined, base, { doing: "" })).toThrow(RegistryError);
    await session.close();
  });
});

/** Small chunks, as a file gives them, so that progress can be seen and cut into. */
function chunkedSource(bytes: Buffer) {
  return {
    size: bytes.length,
    async *read(offset: number) {
      for (let at = offset; at < bytes.length; at += 64 * 1024) yield bytes.subarray(at, at + 64 * 1024);
    },
  };
}

function flipped(chunk: Buffer): Buffer {
  const copy = Buffer.from(chunk);
  copy[copy.length >> 1]! ^= 1;
  return copy;
}

/** Changes the last byte of a chunk that is not all header. */
function flippedBody(chunk: Buffer): Buffer {
  if (chunk.subarray(-4).toString() === "\r\n\r\n") return chunk;
  const copy = Buffer.from(chunk);
  copy[copy.length - 1]! ^= 1;
  return copy;
}
