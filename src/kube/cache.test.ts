import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Cache } from "./cache.ts";
import type { Client } from "./client.ts";
import { configMaps } from "./resources.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test("a watch of which nothing comes, not even a failure, does not stay alive; one that fails does", async () => {
  let list = (): Promise<never> => Promise.reject(new Error("the API server is away"));
  const client = { list: () => list() } as unknown as Client;
  const cache = new Cache({ client, resource: configMaps });
  expect(cache.alive).toBe(true);
  const stop = new AbortController();
  const ended = cache.run(stop.signal);
  for (let minute = 0; minute < 30; minute++) {
    await vi.advanceTimersByTimeAsync(60_000);
    expect(cache.alive).toBe(true);
  }
  const hangs = Promise.withResolvers<never>();
  list = () => hangs.promise;
  await vi.advanceTimersByTimeAsync(300_000);
  expect(cache.alive).toBe(true);
  await vi.advanceTimersByTimeAsync(400_000);
  expect(cache.alive).toBe(false);
  stop.abort();
  hangs.reject(new Error("it ends"));
  await ended;
  expect(cache.alive).toBe(true);
});
