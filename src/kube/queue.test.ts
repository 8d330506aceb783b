import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createMetrics } from "./prometheus.ts";
import { Queue } from "./queue.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const keys = fc.constantFrom("a", "b", "c");
const commands = fc.array(
  fc.oneof(
    fc.record({ do: fc.constant("add" as const), key: keys }),
    fc.record({ do: fc.constant("addAfter" as const), key: keys, ms: fc.integer({ min: 0, max: 50 }) }),
    fc.record({ do: fc.constant("fail" as const) }),
    fc.record({ do: fc.constant("succeed" as const) }),
    fc.record({ do: fc.constant("work" as const) }),
    fc.record({ do: fc.constant("pass" as const), ms: fc.integer({ min: 1, max: 40 }) }),
  ),
  { maxLength: 120 },
);

test("whatever is added, fails or succeeds in whatever order: no key in two hands, none lost", async () => {
  await fc.assert(
    fc.asyncProperty(commands, async (program) => {
      const queue = new Queue();
      /** Keys in a worker's hands. */
      const held: string[] = [];
      /** Keys that someone wants processed from now on, and that were not handed out since. */
      const wanted = new Set<string>();
      const take = async () => {
        const key = await queue.get();
        if (key === undefined) return;
        expect(held).not.toContain(key);
        held.push(key);
        wanted.delete(key);
      };
      const giveBack = (fails: boolean) => {
        const key = held.shift();
        if (key === undefined) return;
        if (fails) {
          queue.addRateLimited(key);
          wanted.add(key);
        }
        queue.done(key);
      };
      for (const command of program) {
        switch (command.do) {
          case "add":
            queue.add(command.key);
            wanted.add(command.key);
            break;
          case "addAfter":
            queue.addAfter(command.key, command.ms);
            wanted.add(command.key);
            break;
          case "fail":
            giveBack(true);
            break;
          case "succeed":
            giveBack(false);
            break;
          case "work":
            if (queue.length > 0) await take();
            break;
          case "pass":
            await vi.advanceTimersByTimeAsync(command.ms);
            break;
        }
      }
      while (held.length > 0) giveBack(false);
      await vi.advanceTimersByTimeAsync(2_000_000);
      while (queue.length > 0) {
        await take();
        giveBack(false);
      }
      expect([...wanted]).toEqual([]);
      expect(queue.delayed).toBe(0);
      queue.shutDown();
    }),
    { numRuns: 300 },
  );
});

test("a key added while it is processed runs again, once, and not before it is given back", async () => {
  const queue = new Queue();
  queue.add("a");
  expect(await queue.get()).toBe("a");
  queue.add("a");
  queue.add("a");
  expect(queue.length).toBe(0);
  queue.done("a");
  expect(queue.length).toBe(1);
  expect(await queue.get()).toBe("a");
  queue.done("a");
  expect(queue.length).toBe(0);
});

test("keys come in the order in which they became ready", async () => {
  const queue = new Queue();
  for (const key of ["b", "a", "c", "a"]) queue.add(key);
  expect([await queue.get(), await queue.get(), await queue.get()]).toEqual(["b", "a", "c"]);
});

test("of several delays for one key the earliest counts", async () => {
  const queue = new Queue();
  queue.addAfter("a", 100);
  queue.addAfter("a", 10);
  queue.addAfter("a", 1_000);
  await vi.advanceTimersByTimeAsync(9);
  expect(queue.length).toBe(0);
  await vi.advanceTimersByTimeAsync(1);
  expect(queue.length).toBe(1);
  expect(await queue.get()).toBe("a");
  queue.done("a");
  await vi.advanceTimersByTimeAsync(5_000);
  expect(queue.length).toBe(0);
});

test("a delay past the longest a timer takes does not fire at once", async () => {
  const queue = new Queue();
  const month = 31 * 86_400_000;
  queue.addAfter("a", month);
  await vi.advanceTimersByTimeAsync(month - 1);
  expect(queue.length).toBe(0);
  await vi.advanceTimersByTimeAsync(1);
  expect(queue.length).toBe(1);
  queue.shutDown();
});

test("delays double from 5 ms to 1000 s, per key, and begin anew when it is forgotten", () => {
  const queue = new Queue();
  const delays = Array.from({ length: 20 }, () => queue.addRateLimited("a"));
  expect(delays.slice(0, 4)).toEqual([5, 10, 20, 40]);
  expect(delays.at(-1)).toBe(1_000_000);
  expect(queue.addRateLimited("b")).toBe(5);
  queue.forget("a");
  expect(queue.addRateLimited("a")).toBe(5);
  expect(queue.addRateLimited("a", 3_000)).toBe(3_000);
  queue.shutDown();
});

test("a shut down queue wakes its workers and hands out nothing more", async () => {
  const queue = new Queue();
  const waiting = queue.get();
  queue.addAfter("late", 10);
  queue.shutDown();
  queue.add("a");
  await vi.advanceTimersByTimeAsync(100);
  expect(await waiting).toBeUndefined();
  expect(await queue.get()).toBeUndefined();
  expect(vi.getTimerCount()).toBe(0);
});

test("how long keys have been in hand is said while they are, and not afterwards", async () => {
  const { registry, metrics } = createMetrics();
  const queue = new Queue({ name: "q", metrics });
  for (const key of ["a", "b"]) queue.add(key);
  const said = async (name: string) => {
    const metric = await registry.getSingleMetric(name)?.get();
    return metric?.values.map(({ labels, value }) => ({ labels, value: Math.round(value) }));
  };
  const labels = { name: "q", controller: "q" };
  await queue.get();
  await vi.advanceTimersByTimeAsync(10_000);
  await queue.get();
  await vi.advanceTimersByTimeAsync(5_000);
  expect(await said("workqueue_unfinished_work_seconds")).toEqual([{ labels, value: 20 }]);
  expect(await said("workqueue_longest_running_processor_seconds")).toEqual([{ labels, value: 15 }]);
  for (const key of ["a", "b"]) queue.done(key);
  expect(await said("workqueue_unfinished_work_seconds")).toEqual([{ labels, value: 0 }]);
  expect(await said("workqueue_longest_running_processor_seconds")).toEqual([{ labels, value: 0 }]);
});
