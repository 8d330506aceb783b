import { expect, test } from "vitest";
import { inTurns } from "./turns.ts";

test("each contender has its turn each round, as often before another as after it", async () => {
  const order: string[] = [];
  let time = 0;
  const contender = (name: string) => async () => {
    order.push(name);
    return time++;
  };
  const contenders = { a: contender("a"), b: contender("b"), c: contender("c") };
  const results = await inTurns(4, contenders, async (name, round) => {
    order.push(`${round}:${name}`);
  });
  expect(order.slice(0, 4)).toEqual(["0:a", "a", "0:b", "b"]);
  expect(order.filter((entry) => entry.length === 1).join("")).toBe("abccbabcaacb");
  expect(results).toEqual({ a: [0, 5, 8, 9], b: [1, 4, 6, 11], c: [2, 3, 7, 10] });
});
