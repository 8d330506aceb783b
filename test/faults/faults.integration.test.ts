import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { Cache } from "../../src/kube/cache.ts";
import { Client } from "../../src/kube/client.ts";
import { Controller, changesOf, done } from "../../src/kube/controller.ts";
import { isConflict, isNotFound } from "../../src/kube/errors.ts";
import { silent } from "../../src/kube/log.ts";
import { type ConfigMap, configMaps } from "../../src/kube/resources.ts";
import { delay } from "../../src/kube/signals.ts";
import { type ApiServer, startApiServer } from "../support/apiserver.ts";
import { makeNamespace } from "../support/namespace.ts";
import { waitFor } from "../support/wait-for.ts";
import { type Fault, startFaultProxy } from "./proxy.ts";

/** How many sequences of faults are played; a longer run is for a person to ask for. */
const RUNS = Number(process.env["FAULT_RUNS"] ?? 6);
const SEED = Number(process.env["FAULT_SEED"] ?? 20_261_121);
const KEYS = 6;

const afterBytes = fc.integer({ min: 0, max: 4000 });
const fault: fc.Arbitrary<Fault> = fc.oneof(
  fc.record({
    type: fc.constant("answer" as const),
    status: fc.constantFrom(409, 410, 429, 500, 503),
    retryAfterSeconds: fc.option(fc.constant(1), { nil: undefined }),
  }),
  fc.constant({ type: "refuse" as const }),
  fc.constant({ type: "lose" as const }),
  fc.record({ type: fc.constant("cut" as const), afterBytes }),
  fc.record({ type: fc.constant("stall" as const), afterBytes }),
  fc.record({ type: fc.constant("delay" as const), ms: fc.integer({ min: 1, max: 300 }) }),
  fc.constant({ type: "no-bookmarks" as const }),
  fc.constant({ type: "twice" as const }),
  fc.record({ type: fc.constant("expire" as const), afterLines: fc.integer({ min: 0, max: 3 }) }),
);

type Step =
  | { type: "write"; key: number }
  | { type: "remove"; key: number }
  /** What befalls the next requests, one each. */
  | { type: "faults"; faults: Fault[] }
  | { type: "cut" }
  | { type: "compact" }
  | { type: "restart"; what: "API server" | "etcd" }
  /** The token that counts, or the authority that signs, is another; the client's file says so that much later. */
  | { type: "rotate"; what: "token" | "authority"; lateMs: number }
  /** So that what follows meets what came before half done, or done. */
  | { type: "pause"; ms: number };
const key = fc.integer({ min: 0, max: KEYS - 1 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ type: fc.constant("write" as const), key }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("remove" as const), key }) },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant("faults" as const),
      faults: fc.array(fault, { minLength: 1, maxLength: 4 }),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ type: "cut" as const }) },
  { weight: 1, arbitrary: fc.constant({ type: "compact" as const }) },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("rotate" as const),
      what: fc.constantFrom("token", "authority"),
      lateMs: fc.integer({ min: 0, max: 300 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ type: fc.constant("pause" as const), ms: fc.integer({ min: 1, max: 60 }) }),
  },
);

/** At most one restart in each: it takes some seconds. */
const sequence: fc.Arbitrary<Step[]> = fc
  .tuple(
    fc.array(step, { minLength: 5, maxLength: 40 }),
    fc.option(fc.record({ what: fc.constantFrom("API server" as const, "etcd" as const), at: fc.nat() })),
  )
  .map(([steps, restart]) => {
    if (restart === null) return steps;
    const { what, at } = restart;
    return steps.toSpliced(at % (steps.length + 1), 0, { type: "restart", what });
  });

describe.skipIf(inject("whyNotApiServer"))(
  "after any sequence of faults between it and the API server",
  () => {
    let server: ApiServer;
    let direct: Client;
    beforeAll(async () => {
      server = await startApiServer({ flags: ["--watch-cache=false"] });
      direct = Client.fromConfig({ kubeconfig: server.kubeconfig });
    });
    afterAll(async () => {
      direct?.close();
      await server?.stop();
    });

    test(`a cache equals the server, and its controller has done what was to do, once at a time (seed ${SEED})`, {
      timeout: RUNS * 60_000,
    }, async () => {
      const seen = new Set<string>();
      await fc.assert(
        fc.asyncProperty(sequence, async (steps) => {
          for (const type of await play(server, direct, steps)) seen.add(type);
        }),
        { numRuns: RUNS, seed: SEED, endOnFailure: true },
      );
      // A proxy that does no harm would prove nothing.
      expect([...seen]).toEqual(expect.arrayContaining(["API server", "etcd", "token", "authority"]));
      expect(seen.size).toBeGreaterThan(8);
    });
  },
);

/** Plays one sequence, and sees that all is well afterwards. Returns the kinds of fault and of step that befell. */
async function play(server: ApiServer, direct: Client, steps: readonly Step[]): Promise<string[]> {
  await using stack = new AsyncDisposableStack();
  const proxy = stack.use(await startFaultProxy(server.kubeconfig));
  const directory = await mkdtemp(join(tmpdir(), "kcr-faults-"));
  stack.defer(() => rm(directory, { recursive: true }));
  const files = { token: join(directory, "token"), authority: join(directory, "ca.crt") };
  await writeFile(files.token, proxy.rotateToken());
  await writeFile(files.authority, proxy.ca);
  const client = Client.fromConfig({ kubeconfig: await writeKubeconfig(directory, proxy.url, files) });
  stack.defer(() => client.close());
  const namespace = await makeNamespace(direct, "faults");
  const pending: Fault[] = [];
  proxy.befall = () => pending.shift();

  const cache = new Cache<ConfigMap>({ client, resource: configMaps, namespace, idleMs: 1500 });
  const inHand = new Set<string>();
  const together: string[] = [];
  const controller = new Controller({
    name: "faults",
    log: silent,
    workers: 4,
    backoff: { baseMs: 5, maxMs: 200, jitter: 0.5 },
    // What is written is copied into the same object: each change has its one right answer.
    reconcile: async (name, signal) => {
      if (inHand.has(name.name)) together.push(name.name);
      inHand.add(name.name);
      try {
        const object = cache.get(name.namespace, name.name);
        if (object === undefined || object.data?.["done"] === object.data?.["wanted"]) return done;
        await client.patch(
          configMaps,
          name,
          {
            type: "merge",
            body: {
              metadata: { resourceVersion: object.metadata.resourceVersion },
              data: { done: object.data?.["wanted"] },
            },
          },
          { signal, timeoutMs: 2000 },
        );
        return done;
      } catch (error) {
        if (isConflict(error) || isNotFound(error)) return { type: "again", afterMs: 20 };
        throw error;
      } finally {
        inHand.delete(name.name);
      }
    },
    sources: [changesOf(cache)],
  });
  const stop = new AbortController();
  const running = Promise.all([cache.run(stop.signal), controller.run(stop.signal)]);
  stack.defer(async () => {
    stop.abort();
    await running;
  });

  let turn = 0;
  for (const one of steps) await act(one);
  pending.length = 0;
  const befallen = [
    ...proxy.befallen.keys(),
    ...steps.flatMap((one) => (one.type === "restart" || one.type === "rotate" ? [one.what] : [])),
  ];

  const state = (objects: readonly ConfigMap[]) =>
    new Map(
      objects.map(({ metadata, data }) => [metadata.name, { version: metadata.resourceVersion, data }]),
    );
  await waitFor(
    "cache and server to be the same, and all that was wanted to be done",
    async () => {
      const there = (await direct.list(configMaps, { namespace })).items;
      expect(state(cache.list())).toEqual(state(there));
      for (const { data } of there) expect(data?.["done"]).toBe(data?.["wanted"]);
      return true;
    },
    { timeoutMs: 45_000, intervalMs: 50 },
  );
  expect(together).toEqual([]);
  await waitFor("nothing to be in hand", () => inHand.size === 0);
  await waitFor("one watch to be open", () => proxy.watches <= 1);
  stop.abort();
  await running;
  await waitFor("no watch to be left", () => proxy.watches === 0);
  return befallen;

  async function act(one: Step): Promise<void> {
    turn += 1;
    switch (one.type) {
      case "write": {
        const name = { namespace, name: `k${one.key}` };
        await direct.apply(configMaps, { metadata: name, data: { wanted: String(turn) } } as ConfigMap, {
          fieldManager: "test",
          force: true,
        });
        return;
      }
      case "remove":
        await direct.delete(configMaps, { namespace, name: `k${one.key}` }).catch((error: unknown) => {
          if (!isNotFound(error)) throw error;
        });
        return;
      case "faults":
        pending.push(...one.faults);
        return;
      case "cut":
        proxy.cut();
        return;
      case "compact": {
        // Twice at one revision is refused.
        const other = {
          metadata: { namespace: "default", name: "tick" },
          data: { turn: `${namespace}/${turn}` },
        };
        await direct.apply(configMaps, other as unknown as ConfigMap, { fieldManager: "test", force: true });
        await server.compact();
        return;
      }
      case "restart":
        await (one.what === "etcd" ? server.restartEtcd() : server.restart());
        await waitFor("the API server to answer again", async () => {
          await direct.list(configMaps, { namespace });
          return true;
        });
        return;
      case "rotate":
        if (one.what === "token") {
          const token = proxy.rotateToken();
          await delay(one.lateMs);
          await writeFile(files.token, token);
        } else {
          proxy.rotateAuthority();
          await delay(one.lateMs);
          await writeFile(files.authority, proxy.ca);
        }
        return;
      case "pause":
        await delay(one.ms);
        return;
      default:
        one satisfies never;
    }
  }
}

/** As a pod's own configuration: token and authority are files that others write anew. */
async function writeKubeconfig(
  directory: string,
  server: string,
  files: { token: string; authority: string },
): Promise<string> {
  const path = join(directory, "kubeconfig");
  const user = { "auth-provider": { name: "tokenFile", config: { tokenFile: files.token } } };
  const config = {
    clusters: [{ name: "c", cluster: { server, "certificate-authority": files.authority } }],
    users: [{ name: "u", user }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
    "current-context": "x",
  };
  await writeFile(path, JSON.stringify(config));
  return path;
}
