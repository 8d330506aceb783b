import { describe, expect, it } from "vitest";
import { Ledger, pays, type Taken } from "./ledger.ts";

const taken = (name: string, at: number, more: Partial<Taken> = {}): Taken => ({
  name,
  at,
  containerID: "one",
  counts: true,
  ...more,
});

describe("what a counter owes", () => {
  const ledger = () => {
    const made = new Ledger("one");
    for (const count of [1, 2, 3, 4]) made.saw({ life: "a", count }, count * 1000);
    return made;
  };

  it("is nothing without a checkpoint that counts", () => {
    expect(ledger().owed([])).toBeUndefined();
    expect(ledger().owed([taken("c", 2500, { counts: false })])).toBeUndefined();
  });

  it("is what it had said before the newest one that counts was begun", () => {
    const all = [taken("newer", 3500), taken("older", 1500), taken("not good", 3900, { counts: false })];
    expect(ledger().owed(all)).toEqual({ life: "a", count: 3, checkpoint: "newer" });
  });

  it("is nothing of what another run's checkpoint holds", () => {
    expect(ledger().owed([taken("c", 2500, { containerID: "two" })])).toBeUndefined();
  });

  it("is, for a run without a checkpoint of its own, what was owed when it was restored", () => {
    const made = ledger();
    const owed = made.owed([taken("c", 2500)]);
    made.begin("two", { life: "a", count: 3, at: 9000 }, owed);
    // It became good too late: nobody was restored from it.
    expect(made.owed([taken("late", 3500), taken("c", 2500)])).toEqual(owed);
    const early = taken("early", 8900, { containerID: "two" });
    expect(made.owed([early])).toEqual({ life: "a", count: 2, checkpoint: "early" });
  });

  it("is paid with as much in the same life", () => {
    const owed = { life: "a", count: 3, checkpoint: "c" };
    expect(pays({ life: "a", count: 3 }, owed)).toBe(true);
    expect(pays({ life: "a", count: 2 }, owed)).toBe(false);
    expect(pays({ life: "b", count: 9 }, owed)).toBe(false);
    expect(pays({ life: "b", count: 1 }, undefined)).toBe(true);
  });
});

it("a step back or another life is of another run", () => {
  const ledger = new Ledger("one");
  expect(ledger.saw({ life: "a", count: 5 }, 1)).toBe(true);
  expect(ledger.saw({ life: "a", count: 5 }, 2)).toBe(true);
  expect(ledger.saw({ life: "a", count: 4 }, 3)).toBe(false);
  expect(ledger.saw({ life: "b", count: 9 }, 4)).toBe(false);
  expect(ledger.last).toMatchObject({ count: 5, at: 2 });
});
