import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test } from "vitest";
import { type ApiServer, startApiServer } from "../../test/support/apiserver.ts";
import { startRelay } from "../../test/support/relay.ts";
import { waitFor } from "../../test/support/wait-for.ts";
import { Cache, type CacheOptions, type Change } from "./cache.ts";
import { Client } from "./client.ts";
import { isAlreadyExists, isNotFound } from "./errors.ts";
import { type MetricName, type Metrics, noMetrics } from "./metrics.ts";
import { type ConfigMap, configMaps, namespaces } from "./resources.ts";

const reason = inject("whyNotApiServer");

/** A client of the server behind the address that stands in its place in the kubeconfig. */
async function clientThrough(kubeconfig: string, url: string, port: number): Promise<Client> {
  const dir = await mkdtemp(join(tmpdir(), "kube-cache-"));
  onTestFinished(() => rm(dir, { recursive: true }));
  const file = join(dir, "config");
  await writeFile(file, (await readFile(kubeconfig, "utf8")).replaceAll(url, `https://127.0.0.1:${port}`));
  return Client.fromConfig({ kubeconfig: file });
}

let unique = 0;
async function newNamespace(client: Client): Promise<string> {
  const { metadata } = await client.create(namespaces, {
    metadata: { name: `cache-${process.pid}-${unique++}` },
  });
  return metadata.name;
}

/** Runs a cache of the namespace's ConfigMaps until the test ends, and keeps a copy from its changes alone. */
function runCache(client: Client, namespace: string, more: Partial<CacheOptions<ConfigMap>> = {}) {
  const counts = new Map<MetricName, number>();
  const metrics: Metrics = {
    ...noMetrics,
    increment: (name, _, by = 1) => counts.set(name, (counts.get(name) ?? 0) + by),
  };
  const cache = new Cache({ client, resource: configMaps, namespace, metrics, ...more });
  const copy = new Map<string, string>();
  const changes: Change<ConfigMap>[] = [];
  cache.subscribe((change) => {
    changes.push(change);
    if (change.type === "apply")
      copy.set(change.object.metadata.name, change.object.metadata.resourceVersion!);
    else copy.delete(change.object.metadata.name);
  });
  const stop = new AbortController();
  const ended = cache.run(stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await ended;
  });
  return { cache, copy, changes, count: (name: MetricName) => counts.get(name) ?? 0 };
}

const versions = (objects: ConfigMap[]) =>
  new Map(objects.map(({ metadata }) => [metadata.name, metadata.resourceVersion!] as const));

/** Waits until cache, subscriber and server agree. */
async function agree(
  client: Client,
  namespace: string,
  { cache, copy }: ReturnType<typeof runCache>,
  timeoutMs = 30_000,
) {
  await waitFor(
    "cache and subscriber to equal the server",
    async () => {
      const server = versions((await client.list(configMaps, { namespace })).items);
      expect(versions(cache.list())).toEqual(server);
      expect(copy).toEqual(server);
      return true;
    },
    { timeoutMs, intervalMs: 50 },
  );
}

/** Creates, changes and deletes: of `count` objects a third each is left alone, changed, and gone. */
async function burst(client: Client, namespace: string, count: number, filler = "") {
  await Promise.all(
    Array.from({ length: count }, async (_, number) => {
      const name = `m-${number}`;
      const there = await client
        .create(configMaps, { metadata: { namespace, name }, data: { filler, turn: "0" } })
        .catch((error: unknown) => {
          if (isAlreadyExists(error)) return undefined;
          throw error;
        });
      if (number % 3 === 1 || !there) {
        await client.patch(
          configMaps,
          { namespace, name },
          { type: "merge", body: { data: { turn: String(Math.random()) } } },
        );
      }
      if (number % 3 === 2) {
        await client.delete(configMaps, { namespace, name }).catch((error: unknown) => {
          if (!isNotFound(error)) throw error;
        });
      }
    }),
  );
}

describe.skipIf(reason)("a cache, on the shared API server", () => {
  let client: Client;
  let server: { url: string; port: number };
  beforeAll(() => {
    client = Client.fromConfig({ kubeconfig: inject("kubeconfig")! });
    server = { url: client.server, port: Number(new URL(client.server).port) };
  });
  const throughProxy = async () => {
    const proxy = await startRelay({ host: "127.0.0.1", port: server.port });
    onTestFinished(() => proxy[Symbol.asyncDispose]());
    return { proxy, proxied: await clientThrough(inject("kubeconfig")!, server.url, proxy.port) };
  };

  test("equals the server after a burst of writes, and tells its subscribers each change once", async () => {
    const namespace = await newNamespace(client);
    await burst(client, namespace, 20);
    const run = runCache(client, namespace, { indexes: { turn: (object) => [object.data?.["turn"] ?? ""] } });
    await run.cache.waitForSync();
    await burst(client, namespace, 60);
    await agree(client, namespace, run);
    expect(run.cache.byIndex("turn", "0")).toEqual(
      run.cache.list().filter((object) => object.data?.["turn"] === "0"),
    );
    const told = run.changes
      .filter(({ type }) => type === "apply")
      .map(({ object }) => object.metadata.resourceVersion);
    expect(new Set(told).size).toBe(told.length);
    expect(run.cache.list()[0]).toMatchObject({ apiVersion: "v1", kind: "ConfigMap" });
    expect(run.cache.list()[0]?.metadata.managedFields).toBeUndefined();
  });

  test("a list of more than one page is a whole picture", async () => {
    const namespace = await newNamespace(client);
    await Promise.all(
      Array.from({ length: 620 }, (_, number) =>
        client.create(configMaps, { metadata: { namespace, name: `p-${number}` } }),
      ),
    );
    const run = runCache(client, namespace);
    await run.cache.waitForSync();
    expect(run.cache.size).toBe(620);
    expect((await client.listAll(configMaps, { namespace })).items).toHaveLength(620);
    expect((await client.list(configMaps, { namespace, limit: 500 })).continue).toBeTruthy();
  });

  test("a watch that is reset resumes, without listing again", async () => {
    const namespace = await newNamespace(client);
    const { proxy, proxied } = await throughProxy();
    const run = runCache(proxied, namespace);
    await run.cache.waitForSync();
    for (let turn = 1; turn <= 3; turn++) {
      await waitFor(
        "the watch to be open",
        () => run.count("reflector_watches_total") >= turn && proxy.open > 0,
      );
      proxy.cut();
      await burst(client, namespace, 12);
      await agree(client, namespace, run);
    }
    expect(run.count("reflector_lists_total")).toBe(1);
    expect(run.count("reflector_failures_total")).toBeGreaterThanOrEqual(3);
  });

  test("a watch that is cut in the middle of a line resumes, and no half object is seen", async () => {
    const namespace = await newNamespace(client);
    const { proxy, proxied } = await throughProxy();
    const run = runCache(proxied, namespace);
    await run.cache.waitForSync();
    await waitFor("the watch to be open", () => run.count("reflector_watches_total") === 1 && proxy.open > 0);
    proxy.cutAfter(150_000);
    await burst(client, namespace, 6, "x".repeat(60_000));
    await agree(client, namespace, run);
    expect(run.count("reflector_failures_total")).toBeGreaterThanOrEqual(1);
    expect(run.count("reflector_lists_total")).toBe(1);
  });

  test("a watch that stalls without being closed is noticed", async () => {
    const namespace = await newNamespace(client);
    const { proxy, proxied } = await throughProxy();
    const run = runCache(proxied, namespace, { idleMs: 1_000 });
    await run.cache.waitForSync();
    await waitFor("the watch to be open", () => run.count("reflector_watches_total") === 1 && proxy.open > 0);
    proxy.stall();
    await burst(client, namespace, 12);
    await agree(client, namespace, run);
    expect(run.count("reflector_lists_total")).toBe(1);
    await waitFor("the stalled connection to be closed", () => proxy.open <= 2);
  });

  test("a server that cannot be reached for a while is found again", async () => {
    const namespace = await newNamespace(client);
    const { proxy, proxied } = await throughProxy();
    proxy.refuse(true);
    const run = runCache(proxied, namespace);
    await burst(client, namespace, 12);
    await waitFor("attempts to fail", () => run.count("reflector_failures_total") >= 2);
    expect(run.cache.synced).toBe(false);
    proxy.refuse(false);
    await agree(client, namespace, run);
  });

  test("a handler that throws loses no event, and others hear of it at once", async () => {
    const namespace = await newNamespace(client);
    const run = runCache(client, namespace);
    const taken = new Set<string>();
    let refusals = 0;
    run.cache.subscribe(({ object }) => {
      if (refusals++ < 5) throw new Error("not now");
      taken.add(object.metadata.name);
    });
    await run.cache.waitForSync();
    await burst(client, namespace, 9);
    await agree(client, namespace, run);
    await waitFor("the handler to have taken all", () =>
      run.cache.list().every(({ metadata }) => taken.has(metadata.name)),
    );
  });

  test("a stopped cache leaves no watch open", async () => {
    const namespace = await newNamespace(client);
    const { proxy, proxied } = await throughProxy();
    const stop = new AbortController();
    const cache = new Cache({ client: proxied, resource: configMaps, namespace });
    const ended = cache.run(stop.signal);
    await cache.waitForSync();
    stop.abort();
    await ended;
    proxied.close();
    await waitFor("all connections to be closed", () => proxy.open === 0);
  });

  test("a label selector limits what is kept, and an object that leaves it is deleted from the cache", async () => {
    const namespace = await newNamespace(client);
    const labels = { keep: "yes" };
    await client.create(configMaps, { metadata: { namespace, name: "in", labels } });
    await client.create(configMaps, { metadata: { namespace, name: "out" } });
    const { cache } = runCache(client, namespace, { labelSelector: "keep=yes" });
    await cache.waitForSync();
    expect(cache.list().map(({ metadata }) => metadata.name)).toEqual(["in"]);
    await client.patch(
      configMaps,
      { namespace, name: "in" },
      { type: "merge", body: { metadata: { labels: { keep: null } } } },
    );
    await waitFor("it to leave", () => cache.size === 0, { intervalMs: 10 });
  });
});

describe.skipIf(reason)("a cache, on an API server that is treated badly", () => {
  let server: ApiServer;
  let client: Client;
  beforeAll(async () => {
    server = await startApiServer({ flags: ["--watch-cache=false"] });
    client = Client.fromConfig({ kubeconfig: server.kubeconfig });
  });
  afterAll(() => server?.stop());

  test("a watch whose version was compacted away (410) lists again, and misses no deletion", async () => {
    const namespace = await newNamespace(client);
    await burst(client, namespace, 12);
    const proxy = await startRelay({ host: "127.0.0.1", port: Number(new URL(server.url).port) });
    onTestFinished(() => proxy[Symbol.asyncDispose]());
    const run = runCache(await clientThrough(server.kubeconfig, server.url, proxy.port), namespace);
    await run.cache.waitForSync();
    proxy.refuse(true);
    await client.delete(configMaps, { namespace, name: "m-0" });
    await client.delete(configMaps, { namespace, name: "m-1" });
    await client.create(configMaps, { metadata: { namespace, name: "m-1" } });
    await server.compact();
    proxy.refuse(false);
    await agree(client, namespace, run);
    expect(run.count("reflector_lists_total")).toBe(2);
    const about = (name: string) => run.changes.filter(({ object }) => object.metadata.name === name);
    expect(about("m-0").map(({ type }) => type)).toEqual(["apply", "delete"]);
    // the second m-1 is another object: the first one's end is told too
    expect(about("m-1").map(({ type }) => type)).toEqual(["apply", "delete", "apply"]);
  });

  test("a list whose next page was compacted away (410) begins again and is whole", async () => {
    const namespace = await newNamespace(client);
    await burst(client, namespace, 12);
    let pages = 0;
    const slow = Object.create(client, {
      list: {
        value: async (...args: Parameters<Client["list"]>) => {
          if (++pages === 2) {
            await burst(client, namespace, 12);
            await server.compact();
          }
          return client.list(...args);
        },
      },
    }) as Client;
    const run = runCache(slow, namespace, { pageSize: 3 });
    await agree(client, namespace, run);
    expect(pages).toBe(3);
  });

  test("an API server that is killed and started again is followed on", async () => {
    const namespace = await newNamespace(client);
    await burst(client, namespace, 6);
    const run = runCache(client, namespace);
    await run.cache.waitForSync();
    await server.restart();
    await burst(client, namespace, 12);
    await agree(client, namespace, run, 50_000);
  });
});
