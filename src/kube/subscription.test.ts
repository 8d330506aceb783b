import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { KubeObject } from "./resources.ts";
import { type Change, Subscription } from "./subscription.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const version = (resourceVersion: string, name = "a"): KubeObject => ({
  metadata: { name, resourceVersion },
});

test("a handler that throws loses no event: the newest state of each object comes again until it is taken", async () => {
  const taken: Change<KubeObject>[] = [];
  const errors: unknown[] = [];
  let broken = true;
  const subscription = new Subscription<KubeObject>(
    (change) => {
      if (broken && change.object.metadata.name === "a") throw new Error("broken");
      taken.push(change);
    },
    (error) => errors.push(error),
  );
  subscription.deliver({ type: "apply", object: version("2"), previous: version("1") });
  subscription.deliver({ type: "apply", object: version("2", "b") });
  subscription.deliver({ type: "apply", object: version("3"), previous: version("2") });
  expect(taken).toEqual([{ type: "apply", object: version("2", "b") }]);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(errors.length).toBeGreaterThan(2);
  broken = false;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(taken.slice(1)).toEqual([{ type: "apply", object: version("3"), previous: version("1") }]);
  expect(vi.getTimerCount()).toBe(0);
});

test("a handler that never took an object hears of its deletion all the same", async () => {
  let broken = true;
  const taken: Change<KubeObject>[] = [];
  const subscription = new Subscription<KubeObject>(
    (change) => {
      if (broken) throw new Error("broken");
      taken.push(change);
    },
    () => {},
  );
  subscription.deliver({ type: "apply", object: version("2") });
  broken = false;
  subscription.deliver({ type: "delete", object: version("3"), previous: version("2") });
  expect(taken).toEqual([{ type: "delete", object: version("3"), previous: undefined }]);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(taken).toHaveLength(1);
});

test("a closed subscription calls nothing more", async () => {
  let calls = 0;
  const subscription = new Subscription<KubeObject>(
    () => {
      calls++;
      throw new Error("broken");
    },
    () => {},
  );
  subscription.deliver({ type: "apply", object: version("2") });
  subscription.close();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(calls).toBe(1);
  expect(vi.getTimerCount()).toBe(0);
});
