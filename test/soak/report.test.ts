import { expect, it } from "vitest";
import { zeros } from "./report.ts";

it("what never happened is named: a fault, or restores by a strategy", () => {
  const faults = { "agent killed": 1, "kubelet killed": 2 };
  expect(zeros({ restores: { Runtime: 3, Image: 1 }, faults })).toEqual([]);
  expect(zeros({ restores: { Runtime: 3, Image: 0 }, faults: { ...faults, "etcd killed": 0 } })).toEqual([
    "never happened: etcd killed",
    "never happened: restores by strategy Image",
  ]);
});
