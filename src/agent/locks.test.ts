import { expect, test } from "vitest";
import { Locks } from "./locks.ts";

test("one holder of a key at a time, in order; other keys are free", async () => {
  const locks = new Locks();
  const order: string[] = [];
  const first = await locks.take("a");
  const later = ["b", "c"].map(async (name) => {
    using _lock = await locks.take("a");
    order.push(name);
  });
  using _other = await locks.take("z");
  expect(order).toEqual([]);
  first[Symbol.dispose]();
  await Promise.all(later);
  expect(order).toEqual(["b", "c"]);
  using _again = await locks.take("a");
});
