import { expect, test } from "vitest";
import { Places } from "./places.ts";

const never = new AbortController().signal;

test("so many have a place, and the others get theirs in order", async () => {
  const places = new Places(2);
  const taken: number[] = [];
  const take = (n: number) =>
    places.take(never).then((place) => {
      taken.push(n);
      return place;
    });
  const [first, second, third, fourth] = [take(1), take(2), take(3), take(4)];
  (await first)[Symbol.dispose]();
  const place = await third;
  expect(taken).toEqual([1, 2, 3]);
  place[Symbol.dispose]();
  // Given back once, however often that is said.
  place[Symbol.dispose]();
  await fourth;
  (await second)[Symbol.dispose]();
  const { signal } = new AbortController();
  using _free = await places.take(signal);
});

test("who waits no more takes nobody's place", async () => {
  const places = new Places(1);
  const held = await places.take(never);
  const stop = new AbortController();
  const waiting = places.take(stop.signal);
  const next = places.take(never);
  stop.abort(new Error("stopped"));
  await expect(waiting).rejects.toThrow("stopped");
  held[Symbol.dispose]();
  (await next)[Symbol.dispose]();
  await expect(places.take(stop.signal)).rejects.toThrow("stopped");
  // Given up at the moment it was given.
  const last = await places.take(never);
  const late = new AbortController();
  const given = places.take(late.signal);
  last[Symbol.dispose]();
  late.abort(new Error("late"));
  await given.then(
    (place) => place[Symbol.dispose](),
    () => {},
  );
  using _free = await places.take(never);
});
