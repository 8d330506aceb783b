import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ByteStream, Client, List } from "./client.ts";
import { type KubeObject, pods } from "./resources.ts";
import { delay } from "./signals.ts";
import { watch } from "./watch.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A server whose list is empty and whose watches say what the test makes them say. */
function server(say: (turn: number, signal: AbortSignal) => AsyncIterable<Buffer>) {
  let opened = 0;
  const versions: unknown[] = [];
  const client = {
    list: async (): Promise<List<KubeObject>> => ({
      items: [],
      resourceVersion: "10",
      continue: undefined,
      remainingItemCount: undefined,
    }),
    stream: async (
      _path: string,
      options: { query: Record<string, unknown>; signal: AbortSignal },
    ): Promise<ByteStream> => {
      versions.push(options.query["resourceVersion"]);
      return { chunks: say(++opened, options.signal), [Symbol.dispose]() {} };
    },
  } as unknown as Client;
  return { client, versions };
}

const bookmark = (resourceVersion: number) =>
  Buffer.from(
    `${JSON.stringify({ type: "BOOKMARK", object: { metadata: { resourceVersion: String(resourceVersion) } } })}\n`,
  );

function follow(client: Client, idleMs: number) {
  const stop = new AbortController();
  const ended = (async () => {
    for await (const _ of watch({ client, resource: pods, idleMs }, stop.signal));
  })();
  ended.catch(() => {});
  return { stop, ended };
}

test("a watch that says something now and then is not taken for stalled", async () => {
  const { client, versions } = server(async function* (_, signal) {
    for (let version = 11; ; version++) {
      await delay(900, signal);
      yield bookmark(version);
    }
  });
  const { stop, ended } = follow(client, 1_000);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(versions).toEqual(["10"]);
  stop.abort(new Error("over"));
  await expect(ended).rejects.toThrow("over");
});

test("a stalled watch resumes from the last bookmark", async () => {
  const { client, versions } = server(async function* (turn, signal) {
    yield bookmark(10 + turn);
    await delay(1e9, signal);
  });
  const { stop, ended } = follow(client, 1_000);
  await vi.advanceTimersByTimeAsync(4_000);
  expect(versions.slice(0, 3)).toEqual(["10", "11", "12"]);
  stop.abort(new Error("over"));
  await expect(ended).rejects.toThrow("over");
  expect(vi.getTimerCount()).toBe(0);
});

test("a server that ends every watch at once is not asked without pause", async () => {
  const { client, versions } = server(async function* () {});
  const { stop, ended } = follow(client, 1_000);
  await vi.advanceTimersByTimeAsync(300_000);
  expect(versions.length).toBeGreaterThan(5);
  expect(versions.length).toBeLessThan(40);
  stop.abort(new Error("over"));
  await expect(ended).rejects.toThrow("over");
});
