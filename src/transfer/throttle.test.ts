import { expect, test } from "vitest";
import { type Clock, Throttle } from "./throttle.ts";

const never = new AbortController().signal;

/** Time that passes only while somebody sleeps. */
class FakeClock implements Clock {
  time = 0;
  now = () => this.time;
  async sleep(milliseconds: number): Promise<void> {
    const over = this.time + milliseconds;
    await Promise.resolve();
    this.time = Math.max(this.time, over);
  }
}

test("so many bytes a second pass, whatever pieces they come in, of all who share it", async () => {
  for (const piece of [1, 1000, 64 * 1024, 5_000_000]) {
    const clock = new FakeClock();
    const throttle = new Throttle(1_000_000, clock);
    let passed = 0;
    const take = async () => {
      await throttle.take(piece, never);
      passed += piece;
    };
    while (passed < 10 * piece || passed < 20_000) await Promise.all([take(), take()]);
    expect(passed / 1_000_000).toBeLessThan(clock.time / 1000 + 0.101);
    expect(passed / 1_000_000).toBeGreaterThan(clock.time / 1000 - 0.001);
  }
});

test("what was not used for long is not made up for", async () => {
  const clock = new FakeClock();
  const throttle = new Throttle(1_000_000, clock);
  clock.time = 3_600_000;
  await throttle.take(2_000_000, never);
  expect(clock.time - 3_600_000).toBeGreaterThanOrEqual(1_900);
});

test("without a limit nobody waits, and who waits can be told to stop", async () => {
  const clock = new FakeClock();
  await new Throttle(undefined, clock).take(1e15, never);
  expect(clock.time).toBe(0);

  const stop = new AbortController();
  const waiting = new Throttle(1).take(1_000_000, stop.signal);
  stop.abort(new Error("stopped"));
  await expect(waiting).rejects.toThrow("stopped");
});
