import { expect, it } from "vitest";
import { Slots } from "./slots.ts";

it("gives no more slots than there are, and never two to one container", () => {
  const slots = new Slots(2);
  const a = slots.tryTake("a");
  expect(a).toBeDefined();
  expect(slots.tryTake("a")).toBeUndefined();
  const b = slots.tryTake("b");
  expect(slots.tryTake("c")).toBeUndefined();
  a?.[Symbol.dispose]();
  expect(slots.isHeld("a")).toBe(false);
  expect(slots.tryTake("c")).toBeDefined();
  expect(slots.isHeld("b")).toBe(true);
  b?.[Symbol.dispose]();
  expect(slots.tryTake("a")).toBeDefined();
});
